package node

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// graveyard keeps the folders of deleted pods, with their logs, up to a number: then the oldest go.
type graveyard struct {
	most int

	mu      sync.Mutex
	folders []podFolder // the oldest first
}

// bury clears the folder of a pod that is gone of all but its logs. Pods are taken for deleted in the order in which they come
// here: one that is cleared slowly is not overtaken.
func (g *graveyard) bury(folder podFolder) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := folder.clear(); err != nil {
		return err
	}
	if _, err := os.Stat(string(folder)); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	g.folders = append(g.folders, folder)
	return g.shrink()
}

// restore finds the folders of pods that were deleted before the process node was started: all but those of the pods that
// there are. Which those are it asks when it has listed the folders, so that none of a new pod is among them.
func (g *graveyard) restore(pods string, ask func() map[podFolder]bool) error {
	entries, err := os.ReadDir(pods)
	if err != nil {
		return fmt.Errorf("listing the pods' folders: %w", err)
	}
	living := ask()
	type grave struct {
		folder podFolder
		since  time.Time
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	var found []grave
	for _, entry := range entries {
		folder := podFolder(filepath.Join(pods, entry.Name()))
		info, err := entry.Info()
		if err != nil || living[folder] || slices.Contains(g.folders, folder) {
			continue // it goes, has a pod, or is known
		}
		if err := folder.clear(); err != nil {
			return err
		}
		found = append(found, grave{folder, info.ModTime()})
	}
	slices.SortFunc(found, func(a, b grave) int { return cmp.Or(a.since.Compare(b.since), cmp.Compare(a.folder, b.folder)) })
	older := make([]podFolder, 0, len(found)+len(g.folders))
	for _, f := range found {
		older = append(older, f.folder)
	}
	g.folders = append(older, g.folders...)
	return g.shrink()
}

func (g *graveyard) shrink() error {
	for len(g.folders) > g.most {
		if err := os.RemoveAll(string(g.folders[0])); err != nil {
			return fmt.Errorf("removing the logs of a deleted pod: %w", err)
		}
		g.folders = g.folders[1:]
	}
	return nil
}
