package web

import (
	"context"
	"encoding/json"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	v1 "github.com/longhaul-dev/longhaul/history/web/v1"
)

const (
	// logReaders is how many logs are read at a time, logTimeout how long one may take, and progressKept how long what it said
	// is taken for the same.
	logReaders   = 8
	logTimeout   = 2 * time.Second
	progressKept = 2 * time.Second
	// maxProgress is of how many pods it is remembered.
	maxProgress = 10_000
)

// progress reads how far workers are from what they log.
type progress struct {
	*Server

	reading chan struct{}
	mu      sync.Mutex
	kept    map[string]keptProgress // by namespace and pod
}

type keptProgress struct {
	share *float64
	at    time.Time
}

func newProgress(s *Server) *progress {
	return &progress{Server: s, reading: make(chan struct{}, logReaders), kept: map[string]keptProgress{}}
}

// add adds to Jobs that run how far they are, where their workers tell.
func (p *progress) add(ctx context.Context, jobs []v1.Job) {
	if p.Logs == nil {
		return
	}
	var all sync.WaitGroup
	for i := range jobs {
		if jobs[i].State == v1.Running {
			all.Go(func() { jobs[i].Progress = p.of(ctx, jobs[i].Namespace, jobs[i].Pod) })
		}
	}
	all.Wait()
}

func (p *progress) of(ctx context.Context, namespace, pod string) *float64 {
	key, now := namespace+"/"+pod, p.Clock.Now()
	p.mu.Lock()
	kept, ok := p.kept[key]
	p.mu.Unlock()
	if ok && now.Sub(kept.at) < progressKept {
		return kept.share
	}
	select {
	case p.reading <- struct{}{}:
		defer func() { <-p.reading }()
	case <-ctx.Done():
		return kept.share
	}
	ctx, cancel := context.WithTimeout(ctx, logTimeout)
	defer cancel()
	text, err := p.Logs(ctx, namespace, pod, "")
	if err != nil {
		return kept.share // it is an extra: a log that cannot be read now is read next time
	}
	share := progressIn(text)
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.kept) >= maxProgress {
		clear(p.kept)
	}
	p.kept[key] = keptProgress{share, now}
	return share
}

// progressIn is the last share that a log tells, from 0 to 1: in a line that is a JSON object with a number "progress", or in
// one with "progress 42%"; nil where none does.
func progressIn(log string) *float64 {
	percent := regexp.MustCompile(`(?i)\bprogress\W{1,3}(\d{1,3}(?:\.\d+)?) ?%`)
	lines := strings.Split(log, "\n")
	for _, line := range slices.Backward(lines) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "{") {
			var said struct {
				Progress *float64 `json:"progress"`
			}
			if json.Unmarshal([]byte(line), &said) == nil && said.Progress != nil {
				return within(*said.Progress)
			}
		}
		if found := percent.FindStringSubmatch(line); found != nil {
			if n, err := strconv.ParseFloat(found[1], 64); err == nil {
				return within(n / 100)
			}
		}
	}
	return nil
}

func within(share float64) *float64 {
	share = min(max(0, share), 1)
	return &share
}
