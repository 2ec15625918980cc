package environment

import (
	"path"
	"path/filepath"
	"strings"
)

// Mounts are the folders that stand for those mounted into a container: by mount path, the folder on this machine.
type Mounts map[string]string

// Translate returns the folder or file on this machine that a mount path, or a path below one, stands for, by the longest
// mount path that fits. Anything else is returned as it is, and so is everything below a mount path of /.
func (m Mounts) Translate(value string) string {
	longest := ""
	for mount := range m {
		clean := path.Clean(mount)
		if clean != "/" && len(clean) > len(longest) && (value == clean || strings.HasPrefix(value, clean+"/")) {
			longest = clean
		}
	}
	if longest == "" {
		return value
	}
	for mount, folder := range m {
		if path.Clean(mount) == longest {
			return filepath.Join(folder, strings.TrimPrefix(value, longest))
		}
	}
	return value
}
