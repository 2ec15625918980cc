package longpoll

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"

	corev1 "k8s.io/api/core/v1"

	"github.com/longhaul-dev/longhaul/api/v1alpha1"
)

const (
	// stateTimeout is how long a pod may take to tell its state, and fenceTimeout to take a fence. A pass waits for them.
	stateTimeout = time.Second
	fenceTimeout = 3 * time.Second
	// maxAnswer is how much of a pod's answer is read, in bytes.
	maxAnswer = 64 << 10
	// maxMessageID is how long a message's name may be, in bytes; the rest is cut off.
	maxMessageID = 256
)

// NewHTTP returns a client that asks pods: directly, over a connection of its own each time, since a pod's address may be
// another's a moment later.
func NewHTTP() *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			DialContext:       (&net.Dialer{Timeout: fenceTimeout}).DialContext,
			DisableKeepAlives: true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// answer is what a pod says of itself.
type answer struct {
	// Busy says that it works; it has to be there.
	Busy *bool `json:"busy"`
	// Fenced says that it takes nothing more.
	Fenced bool `json:"fenced"`
	// MessageID names what it works on, and Until is until when it says so at most.
	MessageID string    `json:"messageID"`
	Until     time.Time `json:"until"`
	// presumed says that it is only taken for busy: a broker says that it holds nothing, and what that says may be old.
	presumed bool
}

// errSilent is wrapped by the error of a pod that does not answer as it should.
var errSilent = errors.New("does not answer")

// askState asks a pod for its state.
func (c *Controller) askState(ctx context.Context, pod *corev1.Pod, at v1alpha1.PodHTTP) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, stateTimeout)
	defer cancel()
	code, body, err := c.request(ctx, http.MethodGet, pod, at)
	if err != nil {
		return answer{}, err
	}
	if code != http.StatusOK {
		return answer{}, fmt.Errorf("pod %s %w with 200 to GET %s but with %d", pod.Name, errSilent, at.Path, code)
	}
	var a answer
	if err := json.Unmarshal(body, &a); err != nil {
		return answer{}, fmt.Errorf("pod %s %w with JSON to GET %s: %w", pod.Name, errSilent, at.Path, err)
	}
	if a.Busy == nil {
		return answer{}, fmt.Errorf(`pod %s %w with {"busy":true} or {"busy":false} to GET %s`, pod.Name, errSilent, at.Path)
	}
	a.MessageID = printable(a.MessageID)
	return a, nil
}

// fence asks a pod to take nothing more, and says whether it is drained: true, or false where it is busy.
func (c *Controller) fence(ctx context.Context, pod *corev1.Pod, at v1alpha1.PodHTTP) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, fenceTimeout)
	defer cancel()
	code, _, err := c.request(ctx, http.MethodPost, pod, at)
	switch {
	case err != nil:
		return false, err
	case code == http.StatusOK:
		return true, nil
	case code == http.StatusConflict:
		return false, nil
	default:
		return false, fmt.Errorf("pod %s %w with 200 or 409 to POST %s but with %d", pod.Name, errSilent, at.Path, code)
	}
}

// unfence lets a pod take messages again.
func (c *Controller) unfence(ctx context.Context, pod *corev1.Pod, at v1alpha1.PodHTTP) error {
	ctx, cancel := context.WithTimeout(ctx, fenceTimeout)
	defer cancel()
	code, _, err := c.request(ctx, http.MethodDelete, pod, at)
	if err == nil && code != http.StatusOK && code != http.StatusNoContent {
		err = fmt.Errorf("pod %s %w with 200 to DELETE %s but with %d", pod.Name, errSilent, at.Path, code)
	}
	return err
}

func (c *Controller) request(ctx context.Context, method string, pod *corev1.Pod, at v1alpha1.PodHTTP) (int, []byte, error) {
	if pod.Status.PodIP == "" {
		return 0, nil, fmt.Errorf("pod %s %w: it has no address yet", pod.Name, errSilent)
	}
	u := url.URL{Scheme: "http", Host: net.JoinHostPort(pod.Status.PodIP, strconv.Itoa(int(at.Port))), Path: at.Path}
	request, err := http.NewRequestWithContext(ctx, method, u.String(), http.NoBody)
	if err != nil {
		return 0, nil, fmt.Errorf("asking pod %s: %w", pod.Name, err)
	}
	response, err := c.HTTP.Do(request)
	if err != nil {
		return 0, nil, fmt.Errorf("pod %s %w: %w", pod.Name, errSilent, err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return 0, nil, fmt.Errorf("pod %s %w: %w", pod.Name, errSilent, err)
	}
	return response.StatusCode, bytes.TrimSpace(body), nil
}

// printable makes a name of what a pod says fit for a status and a terminal.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return -1
	}, strings.ToValidUTF8(s, ""))
	for len(s) > maxMessageID {
		s = s[:len(s)-1]
		s = strings.ToValidUTF8(s, "")
	}
	return s
}
