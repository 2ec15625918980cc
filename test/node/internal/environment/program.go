package environment

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// FindProgram returns the file of a program: a name with a slash is a path, below folder unless absolute; another is
// looked for in the folders of path, a list as PATH holds it. The error says why there is none that can be run.
func FindProgram(name, path, folder string) (string, error) {
	if strings.Contains(name, "/") {
		file := name
		if !filepath.IsAbs(file) {
			file = filepath.Join(folder, file)
		}
		if err := runnable(file); err != nil {
			return "", fmt.Errorf("exec: %q: %w", name, err)
		}
		return file, nil
	}
	for _, place := range filepath.SplitList(path) {
		if !filepath.IsAbs(place) {
			place = filepath.Join(folder, place)
		}
		if file := filepath.Join(place, name); name != "" && runnable(file) == nil {
			return file, nil
		}
	}
	return "", fmt.Errorf("exec: %q: executable file not found in $PATH", name)
}

func runnable(file string) error {
	info, err := os.Stat(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return errors.New("no such file or directory")
	case err != nil:
		return fmt.Errorf("looking at the file: %w", err)
	case info.IsDir():
		return errors.New("is a directory")
	case info.Mode().Perm()&0o111 == 0:
		return errors.New("permission denied")
	}
	return nil
}
