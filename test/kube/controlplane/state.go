package controlplane

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// Phase is where a control plane is in its life.
type Phase string

// The phases. Stopped is the absence of a keeper; the keeper writes the others down.
const (
	Stopped  Phase = "Stopped"
	Starting Phase = "Starting"
	Running  Phase = "Running"
	Stopping Phase = "Stopping"
)

// State is what is known about a control plane from outside. All but Phase and Dir are zero when it is stopped.
type State struct {
	Phase Phase `json:"phase"`
	// Dir is the absolute path of the folder.
	Dir string `json:"dir"`
	// PID is the keeper's process id: SIGTERM to it stops the control plane.
	PID int `json:"pid,omitzero"`
	// Started is when the keeper began to start the components.
	Started time.Time `json:"started,omitzero"`
	// Kubeconfig is the path of the admin's kubeconfig. The file is there while the phase is Running.
	Kubeconfig string `json:"kubeconfig,omitempty"`
	// Server is the URL of the API server.
	Server string `json:"server,omitempty"`
	// Components are in the order in which they were started.
	Components []ComponentState `json:"components,omitempty"`
}

// ComponentState is one component's process.
type ComponentState struct {
	Name string `json:"name"`
	PID  int    `json:"pid"`
	// Address is the host:port it listens on.
	Address string `json:"address"`
	// ResidentBytes is the memory it has in use, 0 if it has just ended.
	ResidentBytes int64 `json:"residentBytes"`
}

func newState(f folder) State {
	return State{Dir: string(f), PID: os.Getpid(), Started: time.Now().UTC(), Kubeconfig: f.kubeconfig()}
}

// enter writes a new phase, and all else that is known by then, where Inspect finds it.
func (k *keeper) enter(phase Phase) error {
	k.state.Phase = phase
	content, err := json.MarshalIndent(k.state, "", "  ")
	if err != nil {
		return fmt.Errorf("encoding the state: %w", err)
	}
	if err := k.folder.writeFile("state.json", append(content, '\n')); err != nil {
		return err
	}
	return k.folder.writeFile("pid", []byte(strconv.Itoa(k.state.PID)+"\n"))
}

// Inspect tells the state of the control plane in the folder. A folder that is not there is a stopped one.
// The process in which Run runs must not call it: by looking at the lock it would lose it.
func Inspect(dir string) (State, error) {
	absolute, err := filepath.Abs(dir)
	if err != nil {
		return State{}, fmt.Errorf("resolving the folder %q: %w", dir, err)
	}
	f := folder(absolute)
	pid, err := f.keeper()
	if err != nil {
		return State{}, err
	}
	if pid == 0 {
		return State{Phase: Stopped, Dir: absolute}, nil
	}
	content, err := os.ReadFile(f.path("state.json"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return State{}, fmt.Errorf("reading the state: %w", err)
	}
	state := State{}
	if err == nil {
		if err := json.Unmarshal(content, &state); err != nil {
			return State{}, fmt.Errorf("parsing %s: %w", f.path("state.json"), err)
		}
	}
	if state.PID != pid {
		// The file is missing or another keeper's: this one is at its first step or behind its last.
		return State{Phase: Starting, Dir: absolute, PID: pid, Kubeconfig: f.kubeconfig()}, nil
	}
	for i := range state.Components {
		state.Components[i].ResidentBytes = residentBytes(state.Components[i].PID)
	}
	return state, nil
}

// residentBytes returns the resident memory of a process, 0 if it is gone.
func residentBytes(pid int) int64 {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0
	}
	fields := bytes.Fields(content)
	if len(fields) < 2 {
		return 0
	}
	pages, err := strconv.ParseInt(string(fields[1]), 10, 64)
	if err != nil {
		return 0
	}
	return pages * int64(os.Getpagesize())
}
