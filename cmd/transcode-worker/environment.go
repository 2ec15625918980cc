package main

import (
	"cmp"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/pflag"

	"github.com/longhaul-dev/longhaul/cmd/transcode-worker/internal/inbox"
)

// terminationLog is where Kubernetes looks for a container's last words, unless its terminationMessagePath says otherwise.
const terminationLog = "/dev/termination-log"

// environment is what the process finds around it.
type environment struct {
	lookup func(name string) (string, bool)
	exists func(file string) bool
	host   string
	pid    int
}

// get returns a variable, in its variant for the Job's trigger where there is one. An empty one counts as not set.
func (e environment) get(name string) string {
	trigger, _ := e.lookup("LONGHAUL_TRIGGER")
	own, _ := e.lookup(name + "_" + variable(trigger))
	common, _ := e.lookup(name)
	return cmp.Or(own, common)
}

// variable is the name of the variable for a flag or trigger.
func variable(name string) string {
	return strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
}

// fill sets the flags that the command line does not from their variables.
func (e environment) fill(flags *pflag.FlagSet) error {
	var errs []error
	flags.VisitAll(func(f *pflag.Flag) {
		value := e.get(variable(f.Name))
		if f.Changed || value == "" || f.Name == "help" {
			return
		}
		if err := f.Value.Set(value); err != nil {
			errs = append(errs, fmt.Errorf("%w: %s %q is not usable: %w", inbox.ErrSettings, variable(f.Name), value, err))
		}
	})
	return errors.Join(errs...)
}

// taker names the Job, so that each try of it is the same taker. Outside of a ScaledJob it names the process.
func (e environment) taker() string {
	job, _ := e.lookup("LONGHAUL_SCALEDJOB")
	sequence, _ := e.lookup("LONGHAUL_SEQUENCE")
	if job != "" && sequence != "" {
		return job + "-" + sequence
	}
	return fmt.Sprintf("%s-%d", e.host, e.pid)
}

// statusFiles are the files to keep the status in: the one that is asked for, and the termination log.
func (e environment) statusFiles() []string {
	var files []string
	if asked, _ := e.lookup("LONGHAUL_PROGRESS_FILE"); asked != "" {
		files = append(files, asked)
	}
	if log, _ := e.lookup("LONGHAUL_TERMINATION_LOG"); log != "" {
		return append(files, log)
	}
	if e.exists(terminationLog) {
		files = append(files, terminationLog)
	}
	return files
}
