package bench_test

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/go-logr/logr"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/cache/informertest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/longhaul-dev/longhaul/api/v1alpha1"
	"github.com/longhaul-dev/longhaul/history/store"
	"github.com/longhaul-dev/longhaul/history/web"
	"github.com/longhaul-dev/longhaul/test/fixture/chromium"
)

// BenchmarkHistoryPages is how long the dashboard's pages take in a real browser, from the click until all is drawn, with 50,000
// records, or as many as LONGHAUL_BENCH_RECORDS says. The limit is the same page with no record.
func BenchmarkHistoryPages(b *testing.B) {
	n := recordsAsked(b)
	dir := b.TempDir()
	empty, full := openStore(b, filepath.Join(dir, "empty.db")), openStore(b, filepath.Join(dir, "history.db"))
	fill(b, full, n)
	const scaledJob = "/namespaces/team-2/scaledjobs/transcode-07"
	none, many := servePages(b, empty), servePages(b, full)
	tab := chromium.Open(b) // last, so that it ends first: its streams of events keep servers up
	tab.As(chromium.Look{Width: 1600, Height: 1000})
	for b.Loop() {
		for _, page := range []struct{ name, path, drawn string }{
			{"a ScaledJob's page, the last hour", scaledJob, `document.querySelectorAll(".chart canvas").length == 2`},
			{"a ScaledJob's page, 30 days", scaledJob + "?range=30d", `document.querySelectorAll(".chart canvas").length == 2`},
			{"the records of all", "/records", `true`},
			{"a search in the records of all", "/records?search=macroblock", `true`},
		} {
			const table = ` && document.querySelector(".records tbody tr") != null`
			const nothing = ` && document.querySelector("div[aria-busy=false] .nothing") != null`
			told(b, fmt.Sprintf("%s, of %d records", page.name, n), opened(tab, many+page.path, page.drawn+table), opened(tab, none+page.path, page.drawn+nothing))
		}
	}
	b.ReportMetric(0, "ns/op")
}

// opened opens a page 20 times, and is how long each took until it was drawn.
func opened(tab *chromium.Tab, url, drawn string) []time.Duration {
	var measured []time.Duration
	for range 20 {
		tab.Do("leaving the page", chromedp.Navigate("about:blank"))
		began := time.Now()
		tab.Do("opening the page", chromedp.Navigate(url))
		tab.Await("the page to be drawn", drawn)
		measured = append(measured, time.Since(began))
	}
	return measured
}

// servePages serves the dashboard of a store, at the time when the last of its Jobs had finished.
func servePages(b *testing.B, s *store.Store) string {
	b.Helper()
	const index = "controller"
	scheme := runtime.NewScheme()
	if err := errors.Join(batchv1.AddToScheme(scheme), corev1.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		b.Fatal(err)
	}
	byOwner := func(o client.Object) []string { return []string{string(metav1.GetControllerOf(o).UID)} }
	sj := &v1alpha1.ScaledJob{ObjectMeta: metav1.ObjectMeta{Namespace: "team-2", Name: "transcode-07", CreationTimestamp: metav1.NewTime(end.AddDate(0, 0, -days))}}
	cluster := fake.NewClientBuilder().WithScheme(scheme).WithObjects(sj).
		WithIndex(&batchv1.Job{}, index, byOwner).WithIndex(&corev1.Pod{}, index, byOwner).Build()
	server, err := web.New(web.Options{
		Store: s, Cache: cluster, Informers: &informertest.FakeInformers{Scheme: scheme}, Index: index, Access: web.Open{}, Log: logr.Discard(),
		Keeps: func(context.Context, string) (bool, error) { return true, nil }, Clock: clocktesting.NewFakeClock(end),
	})
	if err != nil {
		b.Fatal(err)
	}
	serving := httptest.NewServer(server)
	b.Cleanup(serving.Close)
	return serving.URL
}
