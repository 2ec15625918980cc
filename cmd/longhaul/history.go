package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/charmbracelet/x/ansi"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/longhaul-dev/longhaul/dispatcher"
	"github.com/longhaul-dev/longhaul/history"
	"github.com/longhaul-dev/longhaul/history/recorder"
	"github.com/longhaul-dev/longhaul/history/store"
)

// The values of --history.
const (
	historyOff      = "off"
	historySQLite   = "sqlite"
	historyPostgres = "postgres"
)

// tailLines is of how many lines at most the end of a log is kept.
const tailLines = 200

// historySettings are what the flags say of the history.
type historySettings struct {
	kind        string
	file        string
	maxSize     string
	postgresURI string // a file that holds it
	logTails    bool
}

// check refuses settings that cannot work, and says which can.
func (h *historySettings) check() error {
	switch h.kind {
	case historyOff, historySQLite:
	case historyPostgres:
		if h.postgresURI == "" {
			return errors.New("--history=postgres needs --history-postgres-uri-file: a file that holds a connection string, " +
				"such as one mounted from a Secret")
		}
	default:
		return fmt.Errorf("--history %q: give sqlite, postgres or off", h.kind)
	}
	_, err := h.maxBytes()
	return err
}

// maxBytes is how large the file may grow; 0 for as large as it will.
func (h *historySettings) maxBytes() (int64, error) {
	q, err := resource.ParseQuantity(h.maxSize)
	if err != nil || q.Sign() < 0 {
		return 0, fmt.Errorf("--history-max-size %q: give a size such as 2Gi, or 0 for no bound", h.maxSize)
	}
	return q.Value(), nil
}

// open opens the store; nil where no history is kept.
func (h *historySettings) open(ctx context.Context) (*store.Store, error) {
	switch h.kind {
	case historySQLite:
		file, err := h.sqliteFile()
		if err != nil {
			return nil, err
		}
		s, err := store.Open(ctx, store.Options{SQLite: file})
		if err != nil {
			return nil, fmt.Errorf("opening the history: %w; name another file with --history-file, or do without by --history=off", err)
		}
		return s, nil
	case historyPostgres:
		uri, err := os.ReadFile(h.postgresURI)
		if err != nil {
			return nil, fmt.Errorf("reading --history-postgres-uri-file: %w", err)
		}
		s, err := store.Open(ctx, store.Options{PostgreSQL: strings.TrimSpace(string(uri))})
		if err != nil {
			return nil, fmt.Errorf("opening the history: %w", err)
		}
		return s, nil
	default:
		return nil, nil //nolint:nilnil // no history is what was asked for
	}
}

// sqliteFile is where the history is kept: where programs of a user keep their state, unless said otherwise.
func (h *historySettings) sqliteFile() (string, error) {
	if h.file != "" {
		return h.file, nil
	}
	state := os.Getenv("XDG_STATE_HOME")
	if state == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", fmt.Errorf("finding a place for the history: %w; name a file with --history-file", err)
		}
		state = filepath.Join(home, ".local", "state")
	}
	return filepath.Join(state, "longhaul", "history.db"), nil
}

// addHistory wires what records Jobs and what clears away old records; nil where no history is kept.
func addHistory(mgr ctrl.Manager, s settings, kept *store.Store, selected *dispatcher.Options, waker *dispatcher.Waker) (*recorder.Recorder, error) {
	if kept == nil {
		return nil, nil //nolint:nilnil // see above
	}
	measured, err := recorder.NewMetrics(metrics.Registry)
	if err != nil {
		return nil, fmt.Errorf("registering metrics: %w", err)
	}
	clientset, err := kubernetes.NewForConfig(mgr.GetConfig())
	if err != nil {
		return nil, fmt.Errorf("making a client for logs: %w", err)
	}
	o := recorder.Options{
		Store:    kept,
		Cache:    mgr.GetClient(),
		PodIndex: dispatcher.IndexController,
		Live:     mgr.GetAPIReader(),
		Selects:  selected.Selects,
		Keeps:    selected.Keeps,
		Wake:     waker.WakeScaledJob,
		Log:      mgr.GetLogger().WithName("history"),
		Clock:    clock.RealClock{},
		Metrics:  measured,
	}
	if s.history.logTails {
		o.Logs = logEnd(clientset, tailLines, 2*history.LogTail) // a record keeps whole lines of it
	}
	r := recorder.New(o)
	maxBytes, err := s.history.maxBytes()
	if err != nil {
		return nil, err
	}
	return r, errors.Join(
		mgr.Add(&recorder.Process{Recorder: r, Informers: mgr.GetCache()}),
		mgr.Add(&recorder.Pruner{Recorder: r, Store: kept, MaxBytes: maxBytes}),
	)
}

// logEnd reads the last lines of logs, so many bytes of them at most, as a terminal shows them but for colours. A line may be of
// any length, and the API server cuts a log at its end, not at its beginning; so the lines are read whole.
func logEnd(clientset kubernetes.Interface, lines int64, bytes int) func(ctx context.Context, namespace, pod, container string) (string, error) {
	return func(ctx context.Context, namespace, pod, container string) (string, error) {
		stream, err := clientset.CoreV1().Pods(namespace).GetLogs(pod, &corev1.PodLogOptions{Container: container, TailLines: &lines}).Stream(ctx)
		if err != nil {
			return "", err
		}
		defer stream.Close()
		text, err := lastOf(stream, bytes)
		return ansi.Strip(text), err
	}
}

// lastOf is the end of what is read, so many bytes at most. No more than twice as many are held.
func lastOf(r io.Reader, most int) (string, error) {
	var end []byte
	part := make([]byte, most)
	for {
		n, err := r.Read(part)
		end = append(end, part[:n]...)
		end = append(end[:0], end[max(0, len(end)-most):]...)
		if errors.Is(err, io.EOF) {
			return string(end), nil
		}
		if err != nil {
			return string(end), err
		}
	}
}
