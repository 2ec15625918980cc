package e2e_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/google/go-cmp/cmp"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/longhaul-dev/longhaul/api/v1alpha1"
	v1 "github.com/longhaul-dev/longhaul/history/web/v1"
	"github.com/longhaul-dev/longhaul/test/fixture/chromium"
)

// looks are those that each page has to be good in: that of a telephone and that of a large screen.
func looks() map[string]chromium.Look {
	return map[string]chromium.Look{
		"narrow-light": {Width: 360, Height: 740}, "narrow-dark": {Width: 360, Height: 740, Dark: true},
		"wide-light": {Width: 1600, Height: 1000}, "wide-dark": {Width: 1600, Height: 1000, Dark: true},
	}
}

// view has a look at a page in each way: nothing sticks out at the side.
func view(t *testing.T, tab *chromium.Tab, name string) {
	t.Helper()
	for how, look := range looks() {
		tab.As(look)
		// A telephone shows a page that is too wide from further away, and innerWidth is then that of the page.
		tab.Await("the page to fit", fmt.Sprintf(`document.documentElement.scrollWidth <= %d`, look.Width))
		tab.Picture(name + "-" + how)
	}
	tab.As(looks()["wide-light"])
}

func TestTheDashboardShowsWhatBecomesOfEachMessage(t *testing.T) { //nolint:paralleltest // as the other scenarios
	s := stages.get(t)
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	m := s.startManager(t, "a", "--dashboard-bind-address", "127.0.0.1:0", "--dashboard-auth", "none", "--dashboard-tls=false")
	home := "http://" + s.dashboard(ctx, t, m) + "/"
	r := s.shortJobs(ctx, t, redisList(t, true), v1alpha1.ScaledJobSpec{MaxParallelism: ptr.To[int32](3), SuccessfulJobsHistoryLimit: ptr.To[int32](2)})

	tab := chromium.Open(t)
	tab.As(looks()["wide-light"])
	tab.Do("opening the dashboard", chromedp.Navigate(home))
	row := fmt.Sprintf("[data-name='%s/short']", r.namespace)
	tab.Await("the ScaledJob to be ready", fmt.Sprintf(`document.querySelector(%q)?.innerText.includes("Ready")`, row))
	tab.Do("opening the ScaledJob", chromedp.Click(chromedp.CSS(row+" a")))
	tab.Await("the ScaledJob's page", `document.querySelector("h1")?.innerText.startsWith("short") && document.querySelector("#live").innerText == "live"`)

	// Jobs appear as they come, on the page as it is.
	chromium.Ask[bool](tab, `window.same = true`)
	r.put(ctx, t, 8)
	tab.Await("8 Jobs to succeed", `document.querySelectorAll(".records .badge.good").length == 8`)
	tab.Await("their bars", `document.querySelectorAll(".timeline a").length == 8 && document.querySelectorAll(".timeline .bar.succeeded").length == 8`)
	// A message that cannot be transcoded.
	if err := r.queue.put(ctx, []string{fmt.Sprintf(`{"id": "broken", "input": %q, "output": %q}`, s.dir+"/none.y4m", r.output+"/none.avi")}); err != nil {
		t.Fatal(err)
	}
	tab.Await("the Job that fails", `document.querySelectorAll(".records .badge.bad").length == 1 && document.querySelector(".timeline .bar.failed") != null`)
	tab.Await("its category", `document.querySelector(".categories")?.innerText.includes("Failed")`)
	tab.Await("the figures", `document.querySelector(".figures").innerText.includes("Failed, last hour")`)
	if !chromium.Ask[bool](tab, `window.same === true`) {
		t.Error("the page was loaded again: what was new did not come by itself")
	}
	view(t, tab, "scaledjob")

	// The filter is in the URL, and works from there.
	chromium.Ask[bool](tab, `(() => {
		const outcome = document.querySelector("#outcome");
		outcome.value = "failed";
		return outcome.dispatchEvent(new Event("change", { bubbles: true }));
	})()`)
	filtered := `location.search.includes("outcome=failed") && document.querySelectorAll(".records tbody tr").length == 1`
	tab.Await("what failed alone", filtered)
	tab.Do("loading the page again", chromedp.Reload())
	tab.Await("what failed alone, after loading the page again", filtered)
	tab.Do("going back", chromedp.NavigateBack())
	tab.Await("all records", `!location.search.includes("outcome") && document.querySelectorAll(".records tbody tr").length == 9`)
	tab.Do("looking for a message", chromedp.SendKeys(chromedp.CSS("#messageID"), "video-003"+kb.Enter))
	tab.Await("one message's record", `location.search.includes("messageID=video-003") && document.querySelectorAll(".records tbody tr").length == 1`)
	tab.Do("clearing the filters", chromedp.Click(chromedp.CSS(".filters button[type=button]")))
	tab.Await("all records again", `document.querySelectorAll(".records tbody tr").length == 9`)

	// By keyboard from bar to bar, and into a record.
	tab.Do("going to the second bar", chromedp.Focus(chromedp.CSS(".timeline a[tabindex='0']")), chromedp.KeyEvent(kb.ArrowDown))
	if !chromium.Ask[bool](tab, `document.activeElement == document.querySelectorAll(".timeline a")[1]`) {
		t.Errorf("the arrow leads from Job 9's bar to that of Job %q", chromium.Ask[string](tab, `document.activeElement.dataset.sequence`))
	}
	tab.Do("going back up and opening the record", chromedp.KeyEvent(kb.ArrowUp), chromedp.KeyEvent(kb.Enter))
	tab.Await("the record, with the end of its log", `location.pathname.endsWith("/scaledjobs/short/records/9") &&
		document.querySelector(".log")?.innerText.includes("none.y4m") && document.querySelector("main").innerText.includes("Exit code")`)
	tab.Await("its trigger's Jobs", `document.querySelectorAll(".records tbody tr").length == 9`)
	view(t, tab, "record")

	tab.Do("opening all records", chromedp.Navigate(home+"records?search=none.y4m"))
	tab.Await("the record that has the word", `document.querySelectorAll(".records tbody tr").length == 1`)
	view(t, tab, "records")

	// A page has 25 records, and the URL says which page.
	r.put(ctx, t, 20)
	tab.Do("opening the ScaledJob", chromedp.Navigate(home+"namespaces/"+r.namespace+"/scaledjobs/short"))
	tab.Await("the newest page", `document.querySelectorAll(".records .badge.good").length == 24 && document.querySelector("#older") != null`)
	tab.Do("going on", chromedp.Click(chromedp.CSS("#older")))
	last := `document.querySelectorAll(".records tbody tr").length == 4 && document.querySelector("#older") == null && location.search.includes("cursor=")`
	tab.Await("the last page", last)
	tab.Do("loading the page again", chromedp.Reload())
	tab.Await("the last page, after loading it again", last)
	tab.Do("going to the newest", chromedp.Click(chromedp.CSS("#newest")))
	tab.Await("the newest page again", `document.querySelectorAll(".records tbody tr").length == 25 && !location.search.includes("cursor")`)

	// The ScaledJob goes, its history stays.
	sj := &v1alpha1.ScaledJob{ObjectMeta: metav1.ObjectMeta{Namespace: r.namespace, Name: "short"}}
	tab.Do("opening the dashboard", chromedp.Navigate(home))
	tab.Await("the ScaledJob", fmt.Sprintf(`document.querySelector(%q) != null`, row))
	view(t, tab, "overview")
	if err := s.client.Delete(ctx, sj); err != nil {
		t.Fatal(err)
	}
	tab.Await("the ScaledJob to be gone from the page", fmt.Sprintf(`document.querySelector(%q) == null`, row))
	tab.Do("asking for deleted ones", chromedp.Click(chromedp.CSS("#deleted")))
	tab.Await("what is left of it", fmt.Sprintf(`document.querySelector(%q)?.innerText.includes("Deleted")`, row))
	tab.Do("opening it", chromedp.Click(chromedp.CSS(row+" a")))
	tab.Await("its records", `document.querySelectorAll(".records tbody tr").length == 25 && document.querySelector("h1").innerText.includes("Deleted")`)
}

// dashboard is where a manager serves it.
func (s *stage) dashboard(ctx context.Context, t *testing.T, m *manager) string {
	t.Helper()
	said := regexp.MustCompile(`serving the dashboard.*?(127\.0\.0\.1:\d+)`)
	var address string
	err := wait(ctx, time.Minute, "the dashboard to be served", func() (bool, error) {
		log, err := os.ReadFile(s.log(m.log))
		if err != nil {
			return false, err
		}
		found := said.FindSubmatch(log)
		if found == nil {
			return false, nil
		}
		address = string(found[1])
		return true, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return address
}

// reader is a service account that may get and list the ScaledJobs of a namespace, by its token.
func (s *stage) reader(ctx context.Context, t *testing.T, namespace string) string {
	t.Helper()
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "reader"}}
	token := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: ptr.To[int64](3600)}}
	for _, o := range []client.Object{
		account,
		&rbacv1.Role{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "reader"},
			Rules:      []rbacv1.PolicyRule{{APIGroups: []string{v1alpha1.GroupVersion().Group}, Resources: []string{"scaledjobs"}, Verbs: []string{"get", "list"}}},
		},
		&rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "reader"},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "reader"},
			Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: "reader"}},
		},
	} {
		if err := s.client.Create(ctx, o); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.client.SubResource("token").Create(ctx, account, token); err != nil {
		t.Fatal(err)
	}
	return token.Status.Token
}

func TestNobodySeesWhatIsInANamespaceThatTheyMayNotRead(t *testing.T) { //nolint:paralleltest // as the other scenarios
	s := stages.get(t)
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	m := s.startManager(t, "a", "--dashboard-bind-address", "127.0.0.1:0")
	address := s.dashboard(ctx, t, m)
	mine := s.shortJobs(ctx, t, redisList(t, true), v1alpha1.ScaledJobSpec{})
	theirs := s.shortJobs(ctx, t, redisList(t, true), v1alpha1.ScaledJobSpec{})
	records := s.openHistory(ctx, t)
	for _, r := range []*shortRun{mine, theirs} {
		r.put(ctx, t, 1)
		r.awaitRecorded(ctx, t, records, 1)
	}
	token := s.reader(ctx, t, mine.namespace)

	t.Run("through the API", func(t *testing.T) {
		api := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
		get := func(token, path string) (status int, body string) {
			t.Helper()
			request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+address+path, http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			if token != "" {
				request.Header.Set("Authorization", "Bearer "+token)
			}
			response, err := api.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			text, err := io.ReadAll(response.Body)
			if err != nil {
				t.Fatal(err)
			}
			return response.StatusCode, string(text)
		}
		one := func(r *shortRun) string { return "/api/v1/namespaces/" + r.namespace + "/scaledjobs/short" }
		for _, rest := range []string{"", "/jobs", "/records", "/records/1", "/stats", "/activity", "/timeline"} {
			if status, body := get(token, one(mine)+rest); status != http.StatusOK {
				t.Errorf("%s of the user's own: %d %s", rest, status, body)
			}
			for who, token := range map[string]string{"another": token, "nobody": "", "a stranger": token + "x"} {
				want := http.StatusUnauthorized
				if who == "another" {
					want = http.StatusForbidden
				}
				if status, body := get(token, one(theirs)+rest); status != want || strings.Contains(body, "video-") {
					t.Errorf("%s for %s: %d %s", rest, who, status, body)
				}
			}
		}
		for _, path := range []string{"/api/v1/scaledjobs", "/api/v1/scaledjobs?deleted=true", "/api/v1/records", "/api/v1/records?search=short"} {
			status, body := get(token, path)
			if status != http.StatusOK || !strings.Contains(body, mine.namespace) || strings.Contains(body, theirs.namespace) {
				t.Errorf("%s: %d %s", path, status, body)
			}
			if status, body := get("", path); status != http.StatusUnauthorized {
				t.Errorf("%s for nobody: %d %s", path, status, body)
			}
		}
	})

	t.Run("by the plugin", func(t *testing.T) {
		plugin := func(args ...string) (string, error) {
			command := exec.CommandContext(ctx, s.bin("kubectl-longhaul"), append([]string{
				"--kubeconfig", s.kubeconfig, "--server", "https://" + address, "--insecure-skip-tls-verify", "--token", token,
			}, args...)...)
			var out bytes.Buffer
			command.Stdout, command.Stderr = &out, &out
			err := command.Run()
			return out.String(), err
		}
		out, err := plugin("get", "-A", "-o", "json")
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		var list v1.ScaledJobList
		if err := json.Unmarshal([]byte(out), &list); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		var namespaces []string
		for i := range list.Items {
			namespaces = append(namespaces, list.Items[i].Namespace)
		}
		if diff := cmp.Diff([]string{mine.namespace}, namespaces); diff != "" {
			t.Errorf("the namespaces that the user sees (-want +got):\n%s", diff)
		}
		if out, err := plugin("history", "short", "-n", mine.namespace); err != nil || !strings.Contains(out, "video-001") {
			t.Errorf("the user's own history: %v: %s", err, out)
		}
		for _, args := range [][]string{{"history", "short"}, {"describe", "short"}, {"record", "short", "1"}, {"stats", "short"}} {
			out, err := plugin(slices.Concat(args, []string{"-n", theirs.namespace})...)
			if err == nil || !strings.Contains(out, "may not") || strings.Contains(out, "video-") {
				t.Errorf("%v of another's: %v: %s", args, err, out)
			}
		}
	})

	t.Run("on the page", func(t *testing.T) {
		tab := chromium.Open(t, chromedp.Flag("ignore-certificate-errors", true))
		tab.Do("opening the dashboard", chromedp.Navigate("https://"+address+"/"))
		tab.Await("the login", `document.querySelector("h1")?.innerText == "Log in"`)
		tab.ExpectComplaint("401")
		view(t, tab, "login")
		tab.Do("giving a token that the cluster does not know", chromedp.SendKeys(chromedp.CSS("#token"), "wrong"), chromedp.Click(chromedp.CSS("button[type=submit]")))
		tab.Await("what is wrong with it", `document.querySelector("[role=alert]").innerText.includes("does not know the token")`)
		tab.ExpectComplaint("401")
		tab.Do("giving the user's token", chromedp.SetValue(chromedp.CSS("#token"), token), chromedp.Click(chromedp.CSS("button[type=submit]")))
		tab.Await("the user's ScaledJob", fmt.Sprintf(`document.querySelector("[data-name='%s/short']") != null`, mine.namespace))
		if text := chromium.Ask[string](tab, `document.body.innerText`); strings.Contains(text, theirs.namespace) {
			t.Errorf("the user sees another's namespace:\n%s", text)
		}
		if cookies := chromium.Ask[string](tab, `document.cookie`); cookies != "" {
			t.Errorf("scripts can read the cookie %q", cookies)
		}
		tab.Do("opening another's ScaledJob", chromedp.Navigate("https://"+address+"/namespaces/"+theirs.namespace+"/scaledjobs/short"))
		tab.Await("the refusal", `document.querySelector("[role=alert]")?.innerText.includes("may not")`)
		tab.ExpectComplaint("403")
		tab.Do("logging out", chromedp.Click(chromedp.CSS("#user button")))
		tab.Await("the login again", `document.querySelector("h1")?.innerText == "Log in"`)
		tab.Do("opening the dashboard", chromedp.Navigate("https://"+address+"/"))
		tab.Await("the login once more", `document.querySelector("h1")?.innerText == "Log in" && location.pathname.endsWith("/login")`)
		tab.ExpectComplaint("401")
	})
}

// plugin runs kubectl longhaul as the stage's administrator, straight to a manager.
func (s *stage) plugin(ctx context.Context, namespace, server string, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, s.bin("kubectl-longhaul"), append([]string{"--kubeconfig", s.kubeconfig, "--server", server, "-n", namespace}, args...)...)
}

func TestThePluginDoesWhatItSays(t *testing.T) { //nolint:paralleltest // as the other scenarios
	s := stages.get(t)
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	m := s.startManager(t, "a", "--dashboard-bind-address", "127.0.0.1:0", "--dashboard-auth", "none", "--dashboard-tls=false")
	server := "http://" + s.dashboard(ctx, t, m)
	r := s.shortJobs(ctx, t, redisList(t, true), v1alpha1.ScaledJobSpec{MaxParallelism: ptr.To[int32](1), SuccessfulJobsHistoryLimit: ptr.To[int32](0)})
	records := s.openHistory(ctx, t)
	do := func(args ...string) string {
		t.Helper()
		out, err := s.plugin(ctx, r.namespace, server, args...).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %v: %s", args, err, out)
		}
		return string(out)
	}
	says := func(want string, args ...string) {
		t.Helper()
		if out := do(args...); !strings.Contains(out, want) {
			t.Errorf("%v says %q, want %q", args, out, want)
		}
	}

	following := s.plugin(ctx, r.namespace, server, "history", "short", "--follow", "-o", "name")
	out, err := following.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := following.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	follow := func(want string) {
		t.Helper()
		if !lines.Scan() || lines.Text() != want {
			t.Fatalf("history --follow says %q, want %q (%v)", lines.Text(), want, lines.Err())
		}
	}

	// Suspended it dispatches nothing, until it is resumed.
	says("short suspended", "suspend", "short")
	says("is suspended already", "suspend", "short")
	r.put(ctx, t, 1)
	err = wait(ctx, time.Minute, "the suspended ScaledJob to say why it does nothing", func() (bool, error) {
		out := do("describe", "short")
		return strings.Contains(out, "It is suspended, and 1 message waits"), nil
	})
	if err != nil || r.created() != 0 {
		t.Fatalf("%d Jobs while it is suspended: %v", r.created(), err)
	}
	says("short resumed", "resume", "short")
	r.awaitRecorded(ctx, t, records, 1)
	follow("short-000001")

	// One Job more, for no message; it finds none and is done.
	says("job.batch/short-000002 created", "run", "short")
	r.awaitRecorded(ctx, t, records, 2)
	follow("short-000002")

	// A Job that is cancelled ends, and its record says so. It is one that cannot end by itself, so that there is the time.
	sj := &v1alpha1.ScaledJob{}
	if err := s.client.Get(ctx, client.ObjectKey{Namespace: r.namespace, Name: "short"}, sj); err != nil {
		t.Fatal(err)
	}
	before := sj.DeepCopy()
	sj.Spec.JobTemplate.Spec.Template.Spec.Containers[0].Command = []string{"sh", "-c", "echo at work; exec sleep 600"}
	if err := s.client.Patch(ctx, sj, client.MergeFrom(before)); err != nil {
		t.Fatal(err)
	}
	says("job.batch/short-000003 created", "run", "short", "--force")
	err = wait(ctx, time.Minute, "the log of the Job", func() (bool, error) {
		out, err := s.plugin(ctx, r.namespace, server, "logs", "short", "3").Output()
		return err == nil && string(out) == "at work\n", nil
	})
	if err != nil {
		t.Fatal(err)
	}
	says("short-000003   Running", "describe", "short")
	says("short-000003 is being ended", "cancel", "short", "3")
	r.awaitRecorded(ctx, t, records, 3)
	follow("short-000003")
	says("Cancelled", "record", "short", "3")
	if out, err := s.plugin(ctx, r.namespace, server, "cancel", "short", "3").CombinedOutput(); err == nil || !strings.Contains(string(out), "kubectl longhaul record short 3") {
		t.Errorf("cancelling it once more: %v: %s", err, out)
	}

	if err := following.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	_ = following.Wait() // its exit code says more
	if code := following.ProcessState.ExitCode(); code != 130 {
		t.Errorf("interrupted it ends with the exit code %d, want 130", code)
	}
}

func TestTheDashboardShowsWhatEachPodDoes(t *testing.T) { //nolint:paralleltest // the scenarios share one machine
	s := stages.get(t)
	ctx := t.Context()
	m := s.startManager(t, "a", "--dashboard-bind-address", "127.0.0.1:0", "--dashboard-auth", "none", "--dashboard-tls=false")
	home := "http://" + s.dashboard(ctx, t, m) + "/"
	f := s.newFleet(ctx, t, "Deployment", nil)
	if err := f.queue(ctx, 8*time.Second, 100*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	tab := chromium.Open(t)
	tab.As(looks()["wide-light"])
	tab.Do("opening the dashboard", chromedp.Navigate(home))
	row := fmt.Sprintf("[data-deployment='%s/consumer']", f.namespace)
	tab.Await("the ScaledDeployment", fmt.Sprintf(`document.querySelector(%q)?.innerText.includes("Ready")`, row))
	tab.Do("opening it", chromedp.Click(chromedp.CSS(row+" a")))
	tab.Await("the busy pod, and with what", `document.querySelector("h1")?.innerText.startsWith("consumer") && document.querySelector("#live").innerText == "live" &&
		/busy with message-0001 for \d/.test(document.querySelector(".pods")?.innerText)`)
	view(t, tab, "scaleddeployment")
	tab.Await("no pod, when all is done", `document.querySelector("main").innerText.includes("There is no pod.")`)
	f.wantAllDone(ctx, t, 0)
}
