package node

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/longhaul-dev/longhaul/test/node/internal/environment"
)

// makeVolumes makes the folders that stand for a pod's volumes and returns them by name. Projected volumes have none.
func makeVolumes(folder podFolder, pod *corev1.Pod, source environment.Source) (map[string]string, error) {
	folders := map[string]string{}
	for i := range pod.Spec.Volumes {
		volume := &pod.Spec.Volumes[i]
		if volume.Projected != nil {
			continue // above all the token that every pod of a real cluster is given
		}
		place := filepath.Join(folder.volumes(), volume.Name)
		if volume.HostPath != nil {
			place = volume.HostPath.Path
		}
		if err := fillVolume(place, volume, source); err != nil {
			return nil, fmt.Errorf("volume %s: %w", volume.Name, err)
		}
		folders[volume.Name] = place
	}
	return folders, nil
}

func fillVolume(place string, volume *corev1.Volume, source environment.Source) error {
	switch {
	case volume.HostPath != nil:
		return makeHostPath(volume.HostPath)
	case volume.EmptyDir != nil:
		return makeFolder(place)
	case volume.Secret != nil:
		s := volume.Secret
		reference := environment.Reference{Kind: environment.Secret, Name: s.SecretName, Optional: s.Optional}
		return writeKeys(place, reference, s.Items, source)
	case volume.ConfigMap != nil:
		c := volume.ConfigMap
		reference := environment.Reference{Kind: environment.ConfigMap, Name: c.Name, Optional: c.Optional}
		return writeKeys(place, reference, c.Items, source)
	default:
		return fmt.Errorf("%w: a volume that is not emptyDir, hostPath, secret or configMap", environment.ErrUnsupported)
	}
}

// makeHostPath makes the folder of a hostPath volume where the volume says so.
func makeHostPath(path *corev1.HostPathVolumeSource) error {
	if path.Type != nil && *path.Type == corev1.HostPathDirectoryOrCreate {
		return makeFolder(path.Path)
	}
	if _, err := os.Stat(path.Path); err != nil {
		return fmt.Errorf("looking for the host's folder: %w", err)
	}
	return nil
}

// writeKeys writes the keys of a Secret or ConfigMap as files, once: they do not follow later changes.
func writeKeys(place string, from environment.Reference, items []corev1.KeyToPath, source environment.Source) error {
	data, err := from.All(source)
	if err != nil {
		return err
	}
	if err := makeFolder(place); err != nil {
		return err
	}
	if len(items) == 0 {
		for key := range data {
			items = append(items, corev1.KeyToPath{Key: key, Path: key})
		}
	}
	for _, item := range items {
		value, ok, err := from.Key(source, item.Key)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		file := filepath.Join(place, item.Path)
		if err := makeFolder(filepath.Dir(file)); err != nil {
			return err
		}
		if err := os.WriteFile(file, []byte(value), 0o600); err != nil {
			return fmt.Errorf("writing a key of the volume: %w", err)
		}
	}
	return nil
}

func makeFolder(place string) error {
	if err := os.MkdirAll(place, 0o750); err != nil {
		return fmt.Errorf("making a folder: %w", err)
	}
	return nil
}

// mounts returns what stands for the folders mounted into a container, and the same by the name of a variable.
func mounts(c *corev1.Container, folders map[string]string) (environment.Mounts, environment.Variables, error) {
	found := environment.Mounts{}
	var variables environment.Variables
	for _, mount := range c.VolumeMounts {
		folder, ok := folders[mount.Name]
		if !ok {
			continue
		}
		if mount.SubPathExpr != "" {
			return nil, variables, fmt.Errorf("%w: subPathExpr", environment.ErrUnsupported)
		}
		if mount.SubPath != "" {
			folder = filepath.Join(folder, mount.SubPath)
			if _, err := os.Stat(folder); err != nil {
				if err := makeFolder(folder); err != nil {
					return nil, variables, err
				}
			}
		}
		found[mount.MountPath] = folder
		variables.Set(volumeVariable(mount.Name), folder)
	}
	return found, variables, nil
}

// volumeVariable is the name of the variable that tells a volume's folder.
func volumeVariable(volume string) string {
	return "LONGHAUL_VOLUME_" + strings.ToUpper(strings.ReplaceAll(volume, "-", "_"))
}
