package node_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/cert"
	"k8s.io/client-go/util/keyutil"
)

const apiServerName = "kube-apiserver-kubelet-client"

func TestOnlyTheAPIServerIsAnswered(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	stranger, err := newAuthority()
	if err != nil {
		t.Fatal(err)
	}
	const client, serving = x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth
	for name, test := range map[string]struct {
		certificates []tls.Certificate
		code         int
	}{
		"who has no certificate":                  {nil, http.StatusUnauthorized},
		"who has one of another authority":        {certificates(t, stranger, apiServerName, client), http.StatusUnauthorized},
		"who has one that is no client's":         {certificates(t, clients, apiServerName, serving), http.StatusUnauthorized},
		"who has one with somebody else's name":   {certificates(t, clients, "kubernetes-admin", client), http.StatusForbidden},
		"the API server, to whom it is not found": {certificates(t, clients, apiServerName, client), http.StatusNotFound},
	} {
		if code, text := b.ask(http.MethodGet, "/containerLogs/"+b.name+"/none/main", test.certificates); code != test.code {
			t.Errorf("%s is told %d %q, want %d", name, code, text, test.code)
		}
	}
}

func TestWhatIsNotThereIsNamed(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	pod := b.awaitPhase(b.create(b.pod("true")), corev1.PodSucceeded)
	logs := "/containerLogs/" + b.name + "/"
	const only = "the process node serves the logs of containers and nothing else, such as exec, attach or port-forward: "
	for name, test := range map[string]struct {
		method, path string
		code         int
		text         string
	}{
		"a pod": {"GET", logs + "none/main", 404, `pod "none" does not exist`},
		"a pod of another namespace": {
			"GET", "/containerLogs/default/" + pod.Name + "/main", 404, fmt.Sprintf("pod %q does not exist", pod.Name),
		},
		"a container": {"GET", logs + pod.Name + "/none", 404, fmt.Sprintf(`container "none" not found in pod %q`, pod.Name)},
		"a run before the first": {
			"GET", logs + pod.Name + "/main?previous=true", 400,
			fmt.Sprintf(`previous terminated container "main" in pod %q not found`, pod.Name),
		},
		"the times of lines": {
			"GET", logs + pod.Name + "/main?timestamps=true", 400,
			"the process node does not know when a line was written: leave out timestamps",
		},
		"what was written since": {
			"GET", logs + pod.Name + "/main?sinceSeconds=60", 400,
			"the process node does not know when a line was written: leave out sinceSeconds",
		},
		"what was written since then": {
			"GET", logs + pod.Name + "/main?sinceTime=2026-11-26T06:31:00Z", 400,
			"the process node does not know when a line was written: leave out sinceTime",
		},
		"one of two streams": {
			"GET", logs + pod.Name + "/main?stream=Stderr", 400,
			"the process node keeps standard output and error in one file: leave out stream",
		},
		"a number": {
			"GET", logs + pod.Name + "/main?tailLines=-1", 400, `tailLines is "-1", which is no number of lines or bytes`,
		},
		"exec":    {"POST", "/exec/" + b.name + "/" + pod.Name + "/main", 501, only + "POST /exec/" + b.name + "/" + pod.Name + "/main"},
		"metrics": {"GET", "/metrics", 501, only + "GET /metrics"},
	} {
		code, text := b.ask(test.method, test.path, certificates(t, clients, apiServerName, x509.ExtKeyUsageClientAuth))
		if code != test.code || text != test.text {
			t.Errorf("%s: it says %d %q, want %d %q", name, code, text, test.code, test.text)
		}
	}
}

func TestTheNodeSaysWhereItIsAsked(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	before := b.endpoint()
	b.stop()
	if err := dial(before); err == nil {
		t.Errorf("the node has ended, and %s still answers", before)
	}
	b.start()
	if after := b.endpoint(); after == before {
		t.Errorf("the node was started again and is still said to be at %s", after)
	}
	object, err := b.client.CoreV1().Nodes().Get(t.Context(), b.name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	want := []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "127.0.0.1"}, {Type: corev1.NodeHostName, Address: b.name}}
	if diff := cmp.Diff(want, object.Status.Addresses); diff != "" {
		t.Error(diff)
	}
}

// endpoint is where the Node says that its endpoint is.
func (b *bench) endpoint() string {
	b.t.Helper()
	object, err := b.client.CoreV1().Nodes().Get(b.t.Context(), b.name, metav1.GetOptions{})
	if err != nil {
		b.t.Fatal(err)
	}
	return fmt.Sprintf("127.0.0.1:%d", object.Status.DaemonEndpoints.KubeletEndpoint.Port)
}

// ask sends a request to the node's endpoint, and returns what it answers.
func (b *bench) ask(method, path string, certificates []tls.Certificate) (int, string) {
	b.t.Helper()
	response := b.send(method, path, certificates)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

// send sends a request to the node's endpoint, and returns when the answer begins. Whoever asked closes its body.
func (b *bench) send(method, path string, certificates []tls.Certificate) *http.Response {
	b.t.Helper()
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true, Certificates: certificates},
	}}
	request, err := http.NewRequestWithContext(b.t.Context(), method, "https://"+b.endpoint()+path, http.NoBody)
	if err != nil {
		b.t.Fatal(err)
	}
	response, err := client.Do(request)
	if err != nil {
		b.t.Fatal(err)
	}
	return response
}

// authority signs certificates.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

func newAuthority() (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	certificate, err := cert.NewSelfSignedCACert(cert.Config{CommonName: "test"}, key)
	return &authority{certificate, key}, err
}

// pem is the authority's own certificate.
func (a *authority) pem() ([]byte, error) { return cert.EncodeCertificates(a.certificate) }

// sign returns a certificate for a name, and its key.
func (a *authority) sign(name string, usage x509.ExtKeyUsage) (certificate, key []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		Subject:  pkix.Name{CommonName: name},
		NotAfter: time.Now().Add(time.Hour), NotBefore: time.Now().Add(-time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{usage},
	}, a.certificate, &private.PublicKey, a.key)
	if err != nil {
		return nil, nil, err
	}
	signed, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, nil, err
	}
	if certificate, err = cert.EncodeCertificates(signed); err != nil {
		return nil, nil, err
	}
	key, err = keyutil.MarshalPrivateKeyToPEM(private)
	return certificate, key, err
}

// certificates are what a client shows that has one certificate.
func certificates(t *testing.T, a *authority, name string, usage x509.ExtKeyUsage) []tls.Certificate {
	t.Helper()
	certificate, key, err := a.sign(name, usage)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		t.Fatal(err)
	}
	return []tls.Certificate{pair}
}
