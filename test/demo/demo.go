package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/longhaul-dev/longhaul/test/demo/internal/board"
	"github.com/longhaul-dev/longhaul/test/demo/internal/parts"
	"github.com/longhaul-dev/longhaul/test/demo/internal/view"
)

const (
	// messages is how many clips there are.
	messages = 12
	// timeLimit is how long it may take once everything has been built.
	timeLimit = 3 * time.Minute
	// keptName is the run folder of what is left up, runPrefix begins those of the others.
	keptName  = "kept"
	runPrefix = "run-"
)

// demo is one run.
type demo struct {
	settings
	dir     string
	parts   *parts.Set
	access  access
	cluster cluster
	queue   queue
	board   *board.Board
	// scaledJob is the sample's name.
	scaledJob string
}

// demonstrate runs the demo and ends what it started, unless that is to be kept.
func demonstrate(ctx context.Context) (err error) {
	began := time.Now()
	s, err := readSettings(ctx)
	if err != nil {
		return err
	}
	dir, err := makeRunFolder(s)
	if err != nil {
		return err
	}
	d := &demo{settings: s, dir: dir, board: board.New()}
	if d.parts, err = parts.NewSet(dir, s.keep); err != nil {
		return err
	}
	defer func() { err = d.finish(err, ctx.Err() != nil) }()
	if err := d.start(ctx, began); err != nil {
		return err
	}
	defer d.queue.Close()
	if d.longpoll {
		return d.runLongpoll(ctx)
	}
	return d.run(ctx)
}

// makeRunFolder makes the folder for this run, and removes those of runs that are over.
func makeRunFolder(s settings) (string, error) {
	if err := os.MkdirAll(s.base, 0o700); err != nil {
		return "", fmt.Errorf("making the demo's folder: %w", err)
	}
	old, err := filepath.Glob(filepath.Join(s.base, runPrefix+"*"))
	if err != nil {
		return "", fmt.Errorf("looking for earlier runs: %w", err)
	}
	for _, dir := range old {
		if runs, noted, err := parts.Runs(dir); err != nil || runs || !noted {
			continue // without a note it is being made right now
		}
		if err := os.RemoveAll(dir); err != nil {
			return "", fmt.Errorf("removing an earlier run: %w", err)
		}
	}
	if !s.keep {
		dir, err := os.MkdirTemp(s.base, runPrefix)
		if err != nil {
			return "", fmt.Errorf("making the run folder: %w", err)
		}
		return dir, nil
	}
	dir := filepath.Join(s.base, keptName)
	switch runs, _, err := parts.Runs(dir); {
	case err != nil:
		return "", err
	case runs:
		return "", fmt.Errorf("the demo is up already, in %s; this ends it: go run ./test/demo stop", dir)
	}
	if err := os.RemoveAll(dir); err != nil {
		return "", fmt.Errorf("removing an earlier run: %w", err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", fmt.Errorf("making the run folder: %w", err)
	}
	return dir, nil
}

// start builds what is needed and starts all parts.
func (d *demo) start(ctx context.Context, began time.Time) error {
	// The broker comes first: whoever has not installed it need not wait for the rest to learn so.
	say("starting %s", d.broker)
	if err := d.startBroker(ctx); err != nil {
		return err
	}
	say("building the manager, the worker, the node and the control plane")
	programs, err := build(ctx, d.root)
	if err != nil {
		return err
	}
	say("making %d clips", messages)
	if err := d.makeClips(ctx, programs); err != nil {
		return err
	}
	say("starting the control plane, the node and the manager")
	limited, cancel := context.WithTimeoutCause(ctx, timeLimit, fmt.Errorf("not up after %s", timeLimit))
	defer cancel()
	d.cluster = cluster{programs: programs, root: d.root, dir: d.dir}
	if err := d.cluster.start(limited, d.parts); err != nil {
		return err
	}
	say("all is up after %.1f s; the dashboard: http://%s/", time.Since(began).Seconds(), d.cluster.dashboard)
	return nil
}

func (d *demo) startBroker(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding this program: %w", err)
	}
	dir := filepath.Join(d.dir, "broker")
	part, err := d.parts.Start(string(d.broker), exec.Command(self, serveCommand, string(d.broker), dir))
	if err != nil {
		return err
	}
	limited, cancel := context.WithTimeoutCause(ctx, timeLimit, fmt.Errorf("not up after %s", timeLimit))
	defer cancel()
	if err := part.Await(limited, func(context.Context) (err error) { d.access, err = readAccess(dir); return err }); err != nil {
		return err
	}
	d.queue, err = openQueue(d.broker, d.access)
	return err
}

// clipName names a clip and its message.
func clipName(i int) string { return fmt.Sprintf("clip-%02d", i+1) }

func (d *demo) clip(i int) string   { return filepath.Join(d.dir, "clips", clipName(i)+".y4m") }
func (d *demo) output(i int) string { return filepath.Join(d.dir, "videos", clipName(i)+".avi") }

// makeClips makes clips of 2 to 5 seconds; for consumers that stay up, the first is a long one.
func (d *demo) makeClips(ctx context.Context, p programs) error {
	for _, folder := range []string{filepath.Dir(d.clip(0)), filepath.Dir(d.output(0))} {
		if err := os.Mkdir(folder, 0o755); err != nil {
			return fmt.Errorf("making a folder for clips: %w", err)
		}
	}
	for i := range messages {
		const rate = 30
		frames := rate * (2 + i%4)
		if d.longpoll && i == 0 {
			frames = rate * longClip
		}
		worker := filepath.Join(p.bin, "transcode-worker")
		if err := runTool(tool(ctx, worker, "make-clip", fmt.Sprint("--frames=", frames), fmt.Sprint("--rate=", rate),
			"--out="+d.clip(i))); err != nil {
			return err
		}
	}
	return nil
}

// run applies the sample, queues the clips, follows what happens, and judges it.
func (d *demo) run(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, timeLimit, fmt.Errorf("not done after %s", timeLimit))
	defer cancel()
	watches, err := d.cluster.watch(ctx)
	if err != nil {
		return err
	}
	defer watches.stop()
	if err := d.applySample(ctx); err != nil {
		return err
	}
	if err := d.putMessages(ctx); err != nil {
		return err
	}
	f := &follower{demo: d, watches: watches, show: newShow(os.Stdout, d.title())}
	err = f.follow(ctx)
	f.show.close()
	fmt.Fprintln(os.Stdout)
	fmt.Fprint(os.Stdout, view.Table(d.board.Look(0, time.Now())))
	if err != nil {
		return err
	}
	if err := d.judge(ctx, f.cap()); err != nil {
		return err
	}
	if d.keep {
		d.sayHowToUse()
	}
	fmt.Fprintln(os.Stdout, d.board.Summary())
	return nil
}

func (d *demo) title() string {
	encoder := "the worker itself (no ffmpeg)"
	if _, err := exec.LookPath("ffmpeg"); err == nil {
		encoder = "ffmpeg"
	}
	return fmt.Sprintf("One Job per message: %d clips in %s, transcoded by %s", messages, d.broker, encoder)
}

func (d *demo) applySample(ctx context.Context) error {
	name, manifest, err := sample(d.root, d.broker, d.access)
	if err != nil {
		return err
	}
	if d.broker == rabbitBroker {
		if err := d.cluster.addSecret(ctx, d.access); err != nil {
			return err
		}
	}
	d.scaledJob = name
	file := filepath.Join(d.dir, name+".yaml")
	if err := os.WriteFile(file, []byte(manifest), 0o600); err != nil {
		return fmt.Errorf("writing the sample: %w", err)
	}
	say("applying config/samples/%s.yaml", name)
	return d.cluster.kubectl(ctx, "apply", "-f", file)
}

func (d *demo) putMessages(ctx context.Context) error {
	say("queueing %d messages", messages)
	for i := range messages {
		body, err := json.Marshal(map[string]string{"id": clipName(i), "input": d.clip(i), "output": d.output(i)})
		if err != nil {
			return fmt.Errorf("writing a message: %w", err)
		}
		d.board.Queue(clipName(i), time.Now())
		if err := d.queue.Put(ctx, string(body)); err != nil {
			return fmt.Errorf("putting a message into %s: %w", d.broker, err)
		}
	}
	return nil
}

// judge returns what is not as promised.
func (d *demo) judge(ctx context.Context, most int) error {
	complaints := d.board.Complaints(most)
	for i := range messages {
		if info, err := os.Stat(d.output(i)); err != nil || info.Size() == 0 {
			complaints = append(complaints, "there is no video from "+clipName(i))
		}
	}
	rejected, err := d.queue.Rejected(ctx)
	if err != nil {
		return fmt.Errorf("asking %s for rejected messages: %w", d.broker, err)
	}
	if rejected > 0 {
		complaints = append(complaints, fmt.Sprintf("%d messages were rejected", rejected))
	}
	if more := len(complaints) - 10; more > 0 {
		complaints = append(complaints[:10], fmt.Sprintf("and %d more", more))
	}
	if len(complaints) > 0 {
		return errors.New(d.board.Summary() + ". That is not as it should be:\n  " + strings.Join(complaints, "\n  "))
	}
	return nil
}

// finish ends what is not kept, and says where the logs are when something went wrong.
func (d *demo) finish(failure error, interrupted bool) error {
	if d.keep && !interrupted {
		if failure != nil {
			failure = fmt.Errorf("%w\nthe logs: %s\nwhat was started is left up; to end it: %s", failure, d.dir, d.stopCommand())
		}
		return failure
	}
	if interrupted {
		failure = errInterrupted // and whatever came of that
	}
	failure = errors.Join(failure, d.parts.Stop())
	if failure != nil && !interrupted {
		return fmt.Errorf("%w\nthe logs, until the next run: %s", failure, d.dir)
	}
	if err := os.RemoveAll(d.dir); err != nil {
		return errors.Join(failure, fmt.Errorf("removing the run folder: %w", err))
	}
	return failure
}

func (d *demo) stopCommand() string {
	if dir := os.Getenv("DEMO_DIR"); dir != "" {
		return "DEMO_DIR=" + d.base + " go run ./test/demo stop"
	}
	return "go run ./test/demo stop"
}

func (d *demo) sayHowToUse() {
	another := fmt.Sprintf(`'{"id": "another", "input": %q, "output": %q}'`, d.clip(0), filepath.Join(d.dir, "videos", "another.avi"))
	if d.broker == redisBroker {
		another = fmt.Sprintf("redis-cli -u %s RPUSH %s %s", d.access.URI, queueName, another)
	} else {
		another = fmt.Sprintf("publish %s\n  to the queue %s at %s", another, queueName, d.access.URI)
	}
	look := fmt.Sprintf("longhaul history %s\n  kubectl longhaul describe %[1]s", d.scaledJob)
	if d.longpoll {
		look = "describe scaleddeployment " + longpollSample
	}
	fmt.Fprintf(os.Stdout, `
All of it is still up. To look around:

  export KUBECONFIG=%s
  export PATH=%s:%s:$PATH
  export LONGHAUL_SERVER=http://%s
  kubectl get scaledjobs,scaleddeployments,jobs,pods
  kubectl %s
  curl http://%[6]s/metrics

The dashboard: http://%[4]s/

For another one:

  %[7]s

The logs are in %[8]s. To end it all:

  %[9]s

`, d.cluster.kubeconfig(), d.cluster.programs.bin, d.cluster.programs.assets, d.cluster.dashboard, look, d.cluster.metrics,
		another, d.dir, d.stopCommand())
}

// stopKept ends what an earlier run left up.
func stopKept(ctx context.Context) error {
	s, err := readSettings(ctx)
	if err != nil {
		return err
	}
	dir := filepath.Join(s.base, keptName)
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		say("nothing is up")
		return nil
	}
	stopped, err := parts.Stop(dir)
	if err != nil {
		return err
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("removing the run folder: %w", err)
	}
	say("ended %d processes and removed %s", stopped, dir)
	return nil
}

// say tells what is being done.
func say(format string, args ...any) {
	fmt.Fprintf(os.Stdout, format+"\n", args...)
}
