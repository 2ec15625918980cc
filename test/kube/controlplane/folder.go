package controlplane

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// folder is the absolute path of the folder of one control plane.
type folder string

func (f folder) path(elem ...string) string {
	return filepath.Join(append([]string{string(f)}, elem...)...)
}

func (f folder) kubeconfig() string     { return f.path("kubeconfig") }
func (f folder) log(name string) string { return f.path(name + ".log") }

// openFolder makes the folder if it is not there.
func openFolder(dir string) (folder, error) {
	absolute, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("resolving the folder %q: %w", dir, err)
	}
	if err := os.MkdirAll(absolute, 0o700); err != nil {
		return "", fmt.Errorf("making the control plane's folder: %w", err)
	}
	return folder(absolute), nil
}

// lock makes this process the folder's keeper until the closer is closed. It fails if another process is.
//
// The lock is a POSIX one, because the kernel then also tells who holds it: no stale file can name a wrong process. It
// does not keep two goroutines of one process apart.
func (f folder) lock() (io.Closer, error) {
	file, err := os.OpenFile(f.path("lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the lock: %w", err)
	}
	err = unix.FcntlFlock(file.Fd(), unix.F_SETLK, &unix.Flock_t{Type: unix.F_WRLCK})
	if err == nil {
		return file, nil
	}
	_ = file.Close()
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
		return nil, fmt.Errorf("a control plane already runs in %s", f)
	}
	return nil, fmt.Errorf("locking %s: %w", f, err)
}

// keeper returns the process id of the folder's keeper, 0 if it has none.
func (f folder) keeper() (int, error) {
	file, err := os.OpenFile(f.path("lock"), os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("opening the lock: %w", err)
	}
	defer file.Close()
	lock := unix.Flock_t{Type: unix.F_WRLCK}
	if err := unix.FcntlFlock(file.Fd(), unix.F_GETLK, &lock); err != nil {
		return 0, fmt.Errorf("asking who holds the lock of %s: %w", f, err)
	}
	if lock.Type == unix.F_UNLCK {
		return 0, nil
	}
	return int(lock.Pid), nil
}

// writeFile replaces a file of the folder at once: a reader finds the old content or the new. Only its owner can read it.
func (f folder) writeFile(name string, content []byte) error {
	temporary := f.path("." + name + ".new")
	if err := os.WriteFile(temporary, content, 0o600); err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	if err := os.Rename(temporary, f.path(name)); err != nil {
		return fmt.Errorf("putting %s in place: %w", name, err)
	}
	return nil
}

// remove deletes files of the folder; missing ones are as good as deleted.
func (f folder) remove(names ...string) error {
	var errs []error
	for _, name := range names {
		if err := os.Remove(f.path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("removing what an ended control plane left: %w", err))
		}
	}
	return errors.Join(errs...)
}
