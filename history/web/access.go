package web

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilcache "k8s.io/apimachinery/pkg/util/cache"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/clock"

	"github.com/longhaul-dev/longhaul/api/v1alpha1"
)

const (
	// HeaderAuthorization is a header for a bearer token, read before Authorization: the API server's proxy takes that out.
	HeaderAuthorization = "Longhaul-Authorization"
	// cookieName is that of the cookie that holds the token of who has logged in at the page.
	cookieName = "__Host-longhaul"
	// maxToken is how long a token may be.
	maxToken = 32 << 10
	// rememberYes and rememberNo are how long what the cluster says is believed; maxRemembered is of how many questions.
	rememberYes, rememberNo = time.Minute, 10 * time.Second
	maxRemembered           = 10_000
)

// Caller is who sends a request.
type Caller struct {
	Name   string
	UID    string
	Groups []string
	Extra  map[string][]string
	// Anyone says that nobody was asked who they are: the caller may see all.
	Anyone bool
}

// Access says who a caller is and what a caller may see.
type Access interface {
	// Admit refuses requests that are answered to nobody.
	Admit(r *http.Request) error
	// Caller is who sends a request.
	Caller(r *http.Request) (Caller, error)
	// May says whether a caller may do something.
	May(ctx context.Context, c Caller, a Action) (bool, error)
}

// Action is what a caller wants: to get or list, which is the Verb, objects of a resource of ours, in a namespace, or all for
// none. Name is empty for a list.
type Action struct{ Verb, Resource, Namespace, Name string }

// The resources that are shown.
const (
	scaledJobs        = "scaledjobs"
	scaledDeployments = "scaleddeployments"
)

// Open lets anyone see everything. It is for a server that only this machine can reach.
type Open struct{}

// Admit refuses what a page of some other site has a browser ask for, under a name that leads here.
func (Open) Admit(r *http.Request) error {
	host := r.Host
	if h, _, err := net.SplitHostPort(r.Host); err == nil {
		host = h
	}
	if ip := net.ParseIP(strings.Trim(host, "[]")); host == "localhost" || (ip != nil && ip.IsLoopback()) {
		return nil
	}
	return forbidden("the host %q is not this machine: without authentication only localhost and loopback addresses are answered", host)
}

// Caller is anyone.
func (Open) Caller(*http.Request) (Caller, error) { return Caller{Name: "anyone", Anyone: true}, nil }

// May is always so.
func (Open) May(context.Context, Caller, Action) (bool, error) { return true, nil }

// Cluster has the cluster say who callers are, and what they may see.
type Cluster struct {
	clientset  kubernetes.Interface
	remembered *utilcache.LRUExpireCache
}

// NewCluster returns an Access that asks the cluster. What that says is believed for a minute, and for 10 s where it says no.
func NewCluster(clientset kubernetes.Interface, clk clock.Clock) *Cluster {
	return &Cluster{clientset: clientset, remembered: utilcache.NewLRUExpireCacheWithClock(maxRemembered, clk)}
}

// Admit lets all requests in: each has to say who it is from.
func (*Cluster) Admit(*http.Request) error { return nil }

// tokenOf is the bearer token that comes with a request.
func tokenOf(r *http.Request) string {
	for _, header := range []string{HeaderAuthorization, "Authorization"} {
		scheme, token, _ := strings.Cut(r.Header.Get(header), " ")
		if token = strings.TrimSpace(token); strings.EqualFold(scheme, "Bearer") && token != "" {
			return token
		}
	}
	if cookie, err := r.Cookie(cookieName); err == nil {
		return cookie.Value
	}
	return ""
}

// Caller is who the token that comes with a request belongs to.
func (c *Cluster) Caller(r *http.Request) (Caller, error) {
	token := tokenOf(r)
	switch {
	case token == "":
		return Caller{}, unauthorized("who are you? Send a token of the cluster, such as `kubectl create token` prints, as `Authorization: Bearer TOKEN`")
	case len(token) > maxToken:
		return Caller{}, unauthorized("the token is longer than %d bytes", maxToken)
	}
	return c.callerOf(r.Context(), token)
}

// verdict is whose a token is, or that the cluster knows it not.
type verdict struct {
	caller Caller
	known  bool
}

func (c *Cluster) callerOf(ctx context.Context, token string) (Caller, error) {
	key := sha256.Sum256([]byte(token)) // so that no token is kept
	said, ok := c.remembered.Get(key)
	if !ok {
		review, err := c.clientset.AuthenticationV1().TokenReviews().Create(ctx,
			&authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token}}, metav1.CreateOptions{})
		if err != nil {
			return Caller{}, fmt.Errorf("asking the cluster whose a token is: %w", err)
		}
		v, remember := verdict{}, rememberNo
		if review.Status.Authenticated {
			u := review.Status.User
			v = verdict{Caller{Name: u.Username, UID: u.UID, Groups: u.Groups, Extra: map[string][]string{}}, true}
			for k, values := range u.Extra {
				v.caller.Extra[k] = values
			}
			remember = rememberYes
		}
		c.remembered.Add(key, v, remember)
		said = v
	}
	if v := said.(verdict); v.known {
		return v.caller, nil
	}
	return Caller{}, unauthorized("the cluster does not know the token: it may have expired; get a new one, such as `kubectl create token` prints")
}

// question is what the cluster is asked of a caller, as a key.
type question struct {
	user, uid, groups string
	Action
}

// May asks the cluster.
func (c *Cluster) May(ctx context.Context, who Caller, a Action) (bool, error) {
	q := question{who.Name, who.UID, strings.Join(who.Groups, "\x00"), a}
	if said, ok := c.remembered.Get(q); ok {
		return said.(bool), nil
	}
	extra := map[string]authorizationv1.ExtraValue{}
	for k, values := range who.Extra {
		extra[k] = values
	}
	review, err := c.clientset.AuthorizationV1().SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{
		Spec: authorizationv1.SubjectAccessReviewSpec{
			User: who.Name, UID: who.UID, Groups: who.Groups, Extra: extra,
			ResourceAttributes: &authorizationv1.ResourceAttributes{
				Group: v1alpha1.Group, Resource: a.Resource, Verb: a.Verb, Namespace: a.Namespace, Name: a.Name,
			},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		return false, fmt.Errorf("asking the cluster what %s may see: %w", who.Name, err)
	}
	remember := rememberNo
	if review.Status.Allowed {
		remember = rememberYes
	}
	c.remembered.Add(q, review.Status.Allowed, remember)
	return review.Status.Allowed, nil
}

// scope is in which namespaces a caller sees the objects of a resource.
type scope struct {
	*Server

	caller   Caller
	resource string
	all      bool
	seen     map[string]bool
}

// scopeOf finds out whether a caller may see all namespaces.
func (s *Server) scopeOf(ctx context.Context, caller Caller, resource string) (*scope, error) {
	all, err := s.Access.May(ctx, caller, Action{Verb: "list", Resource: resource})
	if err != nil {
		return nil, err
	}
	return &scope{Server: s, caller: caller, resource: resource, all: all, seen: map[string]bool{}}, nil
}

// sees says whether a caller sees a namespace: one that is this manager's, and whose objects the caller may list.
func (sc *scope) sees(ctx context.Context, namespace string) (bool, error) {
	if seen, ok := sc.seen[namespace]; ok {
		return seen, nil
	}
	seen, err := sc.Keeps(ctx, namespace)
	if err == nil && seen && !sc.all {
		seen, err = sc.Access.May(ctx, sc.caller, Action{Verb: "list", Resource: sc.resource, Namespace: namespace})
	}
	if err != nil {
		return false, err
	}
	sc.seen[namespace] = seen
	return seen, nil
}

// mayGet refuses a caller who may not see an object. Whether there is one is not told.
func (s *Server) mayGet(ctx context.Context, caller Caller, resource, namespace, name string) error {
	may, err := s.Access.May(ctx, caller, Action{"get", resource, namespace, name})
	if err != nil {
		return err
	}
	if !may {
		return forbidden("%s may not get %s.%s %q in namespace %q: ask for a role that allows it, such as view",
			caller.Name, resource, v1alpha1.Group, name, namespace)
	}
	mine, err := s.Keeps(ctx, namespace)
	if err != nil {
		return err
	}
	if !mine {
		return notFound("this manager does not look after namespace %q", namespace)
	}
	return nil
}

// IsLoopback says whether only this machine can reach an address such as 127.0.0.1:8443.
func IsLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || (ip != nil && ip.IsLoopback())
}
