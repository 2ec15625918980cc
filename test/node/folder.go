package node

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/longhaul-dev/longhaul/test/node/internal/podstatus"
)

// longestFolderName is how long a folder's name may be on common file systems.
const longestFolderName = 255

// podFolder is a pod's folder: <namespace>_<name>_<uid>, with a folder for each container that holds its logs, and what
// goes with the pod. Names of the latter begin with _, which no container's name does.
type podFolder string

func newPodFolder(pods string, object *corev1.Pod) podFolder {
	name := object.Name
	room := longestFolderName - len(object.Namespace) - len(object.UID) - 2
	if len(name) > room {
		name = name[:room]
	}
	return podFolder(filepath.Join(pods, fmt.Sprintf("%s_%s_%s", object.Namespace, name, object.UID)))
}

// work is where the pod's processes run unless told otherwise.
func (f podFolder) work() string { return filepath.Join(string(f), "_work") }

// volumes holds the pod's volumes, by name.
func (f podFolder) volumes() string { return filepath.Join(string(f), "_volumes") }

func (f podFolder) stateFile() string { return filepath.Join(string(f), "_state.json") }

// log is the log of a container's run.
func (f podFolder) log(container string, run int32) string {
	return filepath.Join(string(f), container, strconv.Itoa(int(run))+".log")
}

// message is the file for the termination message of a container's run.
func (f podFolder) message(container string, run int32) string {
	return filepath.Join(string(f), container, strconv.Itoa(int(run))+".message")
}

// openRun opens a run's log, and makes its empty termination message.
func (f podFolder) openRun(container string, run int32) (*os.File, error) {
	if err := os.MkdirAll(filepath.Join(string(f), container), 0o750); err != nil {
		return nil, fmt.Errorf("making the folder of the logs: %w", err)
	}
	if err := os.WriteFile(f.message(container, run), nil, 0o600); err != nil {
		return nil, fmt.Errorf("making the termination message: %w", err)
	}
	log, err := os.OpenFile(f.log(container, run), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("making the log: %w", err)
	}
	return log, nil
}

// clear removes all but what is kept of a pod that is gone: the logs and termination messages.
func (f podFolder) clear() error {
	for _, path := range []string{f.work(), f.volumes(), f.stateFile()} {
		if err := os.RemoveAll(path); err != nil {
			return fmt.Errorf("clearing the pod's folder: %w", err)
		}
	}
	return nil
}

// memory is what a process node has to know of a pod when it is started again.
type memory struct {
	Started metav1.Time        `json:"started"`
	Address string             `json:"address"`
	Init    []podstatus.Record `json:"init,omitempty"`
	Main    []podstatus.Record `json:"main"`
}

// save writes the memory down, whole or not at all.
func (f podFolder) save(m memory) error {
	content, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("writing down what is known of the pod: %w", err)
	}
	draft := f.stateFile() + ".new"
	if err := os.WriteFile(draft, content, 0o600); err != nil {
		return fmt.Errorf("writing down what is known of the pod: %w", err)
	}
	if err := os.Rename(draft, f.stateFile()); err != nil {
		return fmt.Errorf("writing down what is known of the pod: %w", err)
	}
	return nil
}

// recall reads what was saved, and false if nothing was.
func (f podFolder) recall() (memory, bool, error) {
	content, err := os.ReadFile(f.stateFile())
	if errors.Is(err, fs.ErrNotExist) {
		return memory{}, false, nil
	}
	if err != nil {
		return memory{}, false, fmt.Errorf("reading what is known of the pod: %w", err)
	}
	var m memory
	if err := json.Unmarshal(content, &m); err != nil {
		return memory{}, false, fmt.Errorf("reading what is known of the pod: %w", err)
	}
	return m, true, nil
}

// The most that a termination message holds, from its own file and from the log.
const (
	longestMessage = 4096
	longestTail    = 2048
	mostTailLines  = 80
)

// readHead returns the beginning of a file, nothing if there is none, or what kept it from being read: it is for people.
func readHead(path string, most int64) string {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return ""
	}
	if err != nil {
		return err.Error()
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, most))
	if err != nil {
		return err.Error()
	}
	return strings.ToValidUTF8(string(content), "?")
}

// readTail returns the end of a log, likewise.
func readTail(path string, most int64, lines int) string {
	file, err := os.Open(path)
	if err != nil {
		return err.Error()
	}
	defer file.Close()
	size, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		return err.Error()
	}
	content := make([]byte, min(size, most))
	if _, err := file.ReadAt(content, size-int64(len(content))); err != nil && !errors.Is(err, io.EOF) {
		return err.Error()
	}
	kept := strings.SplitAfter(string(content), "\n")
	if kept[len(kept)-1] == "" {
		kept = kept[:len(kept)-1]
	}
	kept = kept[max(0, len(kept)-lines):]
	return strings.ToValidUTF8(strings.Join(kept, ""), "?")
}
