package longpoll_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/longhaul-dev/longhaul/dispatcher/longpoll"
	"github.com/longhaul-dev/longhaul/dispatcher/longpoll/size"
	"github.com/longhaul-dev/longhaul/dispatcher/trigger"
)

func at(seconds int) time.Time {
	return time.Date(2026, 1, 1, 0, 0, seconds, 0, time.UTC)
}

func TestAPodThatAnswersNothingCountsAsBusyAndThenAsLost(t *testing.T) {
	t.Parallel()
	silent := errors.New("connection refused")
	for _, test := range []struct {
		name    string
		answers []longpoll.Answer
		want    []size.State
	}{
		{
			name:    "one that starts, and answers",
			answers: []longpoll.Answer{{At: at(0), Err: silent}, {At: at(5)}, {At: at(6), Busy: true}, {At: at(7)}},
			want:    []size.State{size.Silent, size.Idle, size.Busy, size.Idle},
		},
		{
			name:    "one that never answers",
			answers: []longpoll.Answer{{At: at(0), Err: silent}, {At: at(9), Err: silent}, {At: at(10), Err: silent}},
			want:    []size.State{size.Silent, size.Silent, size.Lost},
		},
		{
			name:    "one that hangs for a while",
			answers: []longpoll.Answer{{At: at(0), Busy: true}, {At: at(9), Err: silent}, {At: at(10), Busy: true}, {At: at(19), Err: silent}},
			want:    []size.State{size.Busy, size.Silent, size.Busy, size.Silent},
		},
		{
			name:    "one that hangs for good, and comes back",
			answers: []longpoll.Answer{{At: at(0)}, {At: at(10), Err: silent}, {At: at(11)}},
			want:    []size.State{size.Idle, size.Lost, size.Idle},
		},
		{
			name:    "one whose lease runs out and is not renewed",
			answers: []longpoll.Answer{{At: at(0), Busy: true, Until: at(5)}, {At: at(14), Busy: true, Until: at(5)}, {At: at(15), Busy: true, Until: at(5)}},
			want:    []size.State{size.Busy, size.Busy, size.Lost},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(test.want, longpoll.Judged(10*time.Second, test.answers...)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestAMessagesNameIsFitForATerminalAndAStatus(t *testing.T) {
	t.Parallel()
	for said, want := range map[string]string{
		"8141":                        "8141",
		"a\x1b[31mred\n":              "a[31mred",
		"bad \xff byte":               "bad  byte",
		strings.Repeat("é", 200):      strings.Repeat("é", 128),
		"\u202egnp.exe":               "gnp.exe",
		strings.Repeat("x", 256) + "": strings.Repeat("x", 256),
	} {
		if got := longpoll.Printable(said); got != want {
			t.Errorf("%q becomes %q, not %q", said, got, want)
		}
	}
}

func TestPodsAreAskedDirectlyAndLeadNowhereElse(t *testing.T) {
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a redirect was followed") }))
	defer elsewhere.Close()
	pod := httptest.NewServer(http.RedirectHandler(elsewhere.URL, http.StatusTemporaryRedirect))
	defer pod.Close()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, pod.URL, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	response, err := longpoll.NewHTTP().Do(request)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusTemporaryRedirect {
		t.Errorf("the answer is %s", response.Status)
	}
}

func TestMetricsOfAScaledDeploymentKnowAFailedReading(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	m, err := longpoll.NewMetrics(registry)
	if err != nil {
		t.Fatal(err)
	}
	owner := trigger.Owner{Kind: longpoll.OwnerKind, Namespace: "video", Name: "encoder"}
	m.Read(owner, "rabbitmq", trigger.Observation{At: at(0), Backlog: trigger.Backlog{Waiting: 7}})
	m.Read(owner, "rabbitmq", trigger.Observation{At: at(1), Err: errors.New("connection refused")})
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		for _, one := range f.GetMetric() {
			got[f.GetName()] = one.GetGauge().GetValue() + one.GetCounter().GetValue() + float64(one.GetHistogram().GetSampleCount())
		}
	}
	want := map[string]float64{
		"longhaul_scaleddeployment_waiting_messages":      7, // a failed reading is no zero
		"longhaul_scaleddeployment_read_errors_total":     1,
		"longhaul_scaleddeployment_read_duration_seconds": 2,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
