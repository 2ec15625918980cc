package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

func TestOfALongLogTheEndIsRead(t *testing.T) {
	t.Parallel()
	const most = 100
	for _, length := range []int{0, 1, most - 1, most, most + 1, 3*most - 1, 50 * most} {
		log := strings.Repeat("x", max(0, length-3)) + "end"[:min(3, length)]
		for name, reader := range map[string]io.Reader{
			"at once": strings.NewReader(log), "byte by byte": iotest.OneByteReader(strings.NewReader(log)), "with its end": iotest.DataErrReader(strings.NewReader(log)),
		} {
			got, err := lastOf(reader, most)
			if want := log[max(0, len(log)-most):]; got != want || err != nil {
				t.Errorf("of %d bytes %s: %q (%v), want %q", length, name, got, err, want)
			}
		}
	}
	if got, err := lastOf(io.MultiReader(strings.NewReader("begin"), iotest.ErrReader(errors.ErrUnsupported)), most); got != "begin" || !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("of a log that breaks off: %q (%v)", got, err)
	}
}

func TestTheEndOfALogIsReadWithoutColours(t *testing.T) {
	t.Parallel()
	asked := make(chan string, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- r.URL.String()
		fmt.Fprint(w, "\x1b[2mframe 7\x1b[0m\n\x1b[31mmacroblock\x1b[39m lost\n")
	}))
	defer server.Close()
	clientset, err := kubernetes.NewForConfig(&rest.Config{Host: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	got, err := logEnd(clientset, 200, 100)(t.Context(), "media", "transcode-x7k2p", "worker")
	if want := "frame 7\nmacroblock lost\n"; err != nil || got != want {
		t.Errorf("the log: %q, %v; want %q", got, err, want)
	}
	if got, want := <-asked, "/api/v1/namespaces/media/pods/transcode-x7k2p/log?container=worker&tailLines=200"; got != want {
		t.Errorf("the API server was asked for %s, want %s", got, want)
	}
}
