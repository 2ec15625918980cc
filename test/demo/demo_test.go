// Package main_test runs the whole demo, as people do, and looks whether anything is left of it.
package main_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// patience is how long one run may take on a machine that is busy with other things.
const patience = 5 * time.Minute

// summary is the last line of a demo that went well.
const summary = "12 messages, 12 Jobs, 12 succeeded, at most 4 at once"

// run is one run of the demo.
type run struct {
	command *exec.Cmd
	// dir is its DEMO_DIR, which all of its processes have in their arguments or in their environment.
	dir string
	// output is what it has written, to be read when it has ended.
	output bytes.Buffer
}

// newRun prepares a run in a folder of its own.
func newRun(t *testing.T, environment ...string) *run {
	t.Helper()
	if testing.Short() {
		t.Skip("starts a control plane")
	}
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		skip(t, `needs a control plane: export KUBEBUILDER_ASSETS="$(test/kube/build.sh)"`)
	}
	dir := t.TempDir()
	program := filepath.Join(dir, "demo")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("building the demo: %v\n%s", err, out)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	r := &run{command: exec.CommandContext(ctx, program), dir: dir}
	r.command.Env = append(os.Environ(), append([]string{"DEMO_DIR=" + dir, "NO_COLOR=", "TERM=xterm"}, environment...)...)
	r.command.Cancel = func() error { return r.command.Process.Signal(os.Interrupt) }
	r.command.WaitDelay = time.Minute
	return r
}

// skip ends a test for which something is missing; where nothing may be, that is a failure.
func skip(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(why)
	}
	t.Skip(why)
}

// toEnd runs it and returns its exit code. Each line that it writes is given to the function, if there is one.
func (r *run) toEnd(t *testing.T, line func(string)) int {
	t.Helper()
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	r.command.Stdout, r.command.Stderr = writer, writer
	err = r.command.Start()
	_ = writer.Close()
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(io.TeeReader(reader, &r.output))
	for lines.Scan() { // until no process has the pipe any more
		if line != nil {
			line(lines.Text())
		}
	}
	return r.wait(t)
}

// onTerminal runs it on a terminal of 100 by 30 characters and returns its exit code.
func (r *run) onTerminal(t *testing.T) int {
	t.Helper()
	user, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		skip(t, "needs pseudo-terminals: "+err.Error())
	}
	defer user.Close()
	number, numberErr := unix.IoctlGetInt(int(user.Fd()), unix.TIOCGPTN)
	unlockErr := unix.IoctlSetPointerInt(int(user.Fd()), unix.TIOCSPTLCK, 0)
	sizeErr := unix.IoctlSetWinsize(int(user.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Col: 100, Row: 30})
	terminal, openErr := os.OpenFile("/dev/pts/"+strconv.Itoa(number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err := errors.Join(numberErr, unlockErr, sizeErr, openErr); err != nil {
		t.Fatal(err)
	}
	r.command.Stdin, r.command.Stdout, r.command.Stderr = terminal, terminal, terminal
	err = r.command.Start()
	_ = terminal.Close()
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(&r.output, user) // ends with an error when nobody has the terminal any more
	return r.wait(t)
}

func (r *run) wait(t *testing.T) int {
	t.Helper()
	var exit *exec.ExitError
	if err := r.command.Wait(); err != nil && !errors.As(err, &exit) {
		t.Fatalf("running the demo: %v\n%s", err, &r.output)
	}
	return r.command.ProcessState.ExitCode()
}

// wantNothingLeft fails for each process that belongs to the run, and for each folder of the run but those allowed.
func (r *run) wantNothingLeft(t *testing.T, allowed ...string) {
	t.Helper()
	for pid, line := range r.processes(t) {
		t.Errorf("process %s is left: %s", pid, line)
	}
	entries, err := os.ReadDir(r.dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() != "demo" && !contains(allowed, e.Name()) {
			t.Errorf("%s is left", e.Name())
		}
	}
}

func contains(patterns []string, name string) bool {
	for _, p := range patterns {
		if ok, _ := filepath.Match(p, name); ok {
			return true
		}
	}
	return false
}

// processes are those that have the run's folder in their arguments or environment.
func (r *run) processes(t *testing.T) map[string]string {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for _, process := range all {
		// One that has ended since, or is another user's, cannot be read, and is not ours.
		arguments, _ := os.ReadFile(filepath.Join(process, "cmdline"))
		environment, _ := os.ReadFile(filepath.Join(process, "environ"))
		if bytes.Contains(arguments, []byte(r.dir)) || bytes.Contains(environment, []byte(r.dir)) {
			found[filepath.Base(process)] = string(bytes.ReplaceAll(arguments, []byte{0}, []byte{' '}))
		}
	}
	return found
}

// lastLine is the last that is not empty.
func (r *run) lastLine() string {
	lines := strings.Split(strings.TrimSpace(strings.ReplaceAll(r.output.String(), "\r", "")), "\n")
	return lines[len(lines)-1]
}

func (r *run) want(t *testing.T, parts ...string) {
	t.Helper()
	for _, want := range parts {
		if !strings.Contains(r.output.String(), want) {
			t.Errorf("the demo has not written %q", want)
		}
	}
	if t.Failed() {
		t.Logf("it has written:\n%s", &r.output)
	}
}

func TestTheDemoRunsOneJobPerMessageAndLeavesNothing(t *testing.T) {
	t.Parallel()
	r := newRun(t)
	if code := r.onTerminal(t); code != 0 {
		t.Errorf("the exit code is %d", code)
	}
	if got := r.lastLine(); got != summary {
		t.Errorf("the last line is %q, not %q", got, summary)
	}
	r.want(t, "█", "░", "\033[", "waiting", "starting", "running", "OUTCOME")
	r.wantNothingLeft(t)
}

func TestTheDemoWithRabbitMQIsLeftUpUntilItIsStopped(t *testing.T) {
	t.Parallel()
	r := newRun(t, "BROKER=rabbitmq", "DEMO_KEEP=1")
	code := r.toEnd(t, nil)
	if strings.Contains(r.output.String(), "not installed") {
		skip(t, "needs RabbitMQ: make brokers")
	}
	stopped := false
	stop := func() (string, error) {
		command := exec.Command(r.command.Path, "stop")
		command.Env = r.command.Env
		out, err := command.CombinedOutput()
		return string(out), err
	}
	defer func() {
		if !stopped {
			_, _ = stop()
		}
	}()
	if code != 0 || r.lastLine() != summary {
		t.Errorf("the exit code is %d and the last line %q, not 0 and %q", code, r.lastLine(), summary)
	}
	r.want(t, "starting", "running", "succeeded", "export KUBECONFIG=", "DEMO_DIR="+r.dir+" go run ./test/demo stop")

	kubectl := exec.CommandContext(t.Context(), filepath.Join(os.Getenv("KUBEBUILDER_ASSETS"), "kubectl"), "get", "scaledjobs")
	kubectl.Env = append(os.Environ(), "KUBECONFIG="+filepath.Join(r.dir, "kept", "kube", "kubeconfig"))
	if out, err := kubectl.CombinedOutput(); err != nil || !strings.Contains(string(out), "transcode-rabbitmq") {
		t.Errorf("kubectl does not show the ScaledJob: error %v:\n%s", err, out)
	}

	again := exec.CommandContext(t.Context(), r.command.Path)
	again.Env = r.command.Env
	if out, err := again.CombinedOutput(); err == nil || !strings.Contains(string(out), "the demo is up already") {
		t.Errorf("a second one beside it is not refused: error %v:\n%s", err, out)
	}

	told, err := stop()
	stopped = err == nil
	if err != nil || !strings.Contains(told, "ended 4 processes") {
		t.Errorf("stopping it: error %v: %s", err, told)
	}
	r.wantNothingLeft(t)
}

func TestConsumersThatStayUpAreShrunkWhileOneIsBusy(t *testing.T) {
	t.Parallel()
	r := newRun(t, "DEMO=longpoll")
	if code := r.toEnd(t, nil); code != 0 {
		t.Errorf("the exit code is %d", code)
	}
	r.want(t, "12 messages, 12 transcoded, at most 4 consumers at once, ", " 0 busy consumers ended, none left", "busy with clip-01", "gone")
	r.wantNothingLeft(t)
}

func TestAnInterruptedDemoLeavesNothing(t *testing.T) {
	t.Parallel()
	r := newRun(t)
	signalled := false
	code := r.toEnd(t, func(line string) {
		if !signalled && strings.Contains(line, "running    clip") {
			signalled = r.command.Process.Signal(os.Interrupt) == nil // a second would end it at once
		}
	})
	if code != 130 {
		t.Errorf("the exit code is %d, not 130", code)
	}
	r.want(t, "demo: interrupted")
	r.wantNothingLeft(t)
}

func TestADemoWhoseManagerDiesSaysSoAndWhereTheLogsAre(t *testing.T) {
	t.Parallel()
	r := newRun(t)
	killed := false
	code := r.toEnd(t, func(line string) {
		if killed || !strings.Contains(line, "running    clip") {
			return
		}
		for pid, line := range r.processes(t) {
			if number, err := strconv.Atoi(pid); err == nil && strings.Contains(line, "/longhaul --kubeconfig") {
				killed = syscall.Kill(number, syscall.SIGKILL) == nil
			}
		}
	})
	if !killed || code != 1 {
		t.Errorf("the manager was killed: %t; the exit code is %d, not 1", killed, code)
	}
	logs, err := filepath.Glob(filepath.Join(r.dir, "run-*", "longhaul.log"))
	if err != nil || len(logs) != 1 {
		t.Fatalf("there are %d logs of the manager, error %v", len(logs), err)
	}
	r.want(t, "longhaul ended (signal: killed)", fmt.Sprintf("the logs, until the next run: %s", filepath.Dir(logs[0])))
	r.wantNothingLeft(t, "run-*")
}

func TestASettingThatIsNotKnownIsRefusedAtOnce(t *testing.T) {
	t.Parallel()
	for setting, complaint := range map[string]string{
		"BROKER=kafka": "BROKER=kafka cannot be done: give redis or rabbitmq",
		"DEMO=videos":  "DEMO=videos cannot be done: give jobs or longpoll",
	} {
		r := newRun(t, setting)
		if code := r.toEnd(t, nil); code != 2 {
			t.Errorf("the exit code with %s is %d, not 2", setting, code)
		}
		r.want(t, complaint)
		r.wantNothingLeft(t)
	}
}
