#!/usr/bin/env bash
# Builds the local control plane once and prints the folder it is in.
#
# The folder holds one binary, kube, and links to it named etcd, kube-apiserver, kube-controller-manager and kubectl: it
# serves as KUBEBUILDER_ASSETS. It is named by a digest of all that goes into the build, so a second call only looks.
# The last line on stdout is the folder; progress goes to stderr.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")"
# A workspace, vendoring or a target platform meant for another module must not reach this build.
export GOWORK=off CGO_ENABLED=0
unset GOOS GOARCH

cache=${LONGHAUL_CACHE:-$HOME/.cache/longhaul}/kube
names=(etcd kube-apiserver kube-controller-manager kubectl)
# Other work trees, and shells that noted a folder, may use another digest: a folder goes only when nobody has asked for
# it for this many minutes and nothing runs from it.
keep_minutes=1440

# digest sets the variable digest. It starts as few processes as it can: every test run waits for it.
digest() {
	local LC_ALL=C file files=(build.sh go.mod go.sum)
	shopt -s globstar
	for file in **/*.go; do
		[[ $file == *_test.go ]] || files+=("$file")
	done
	digest=$({ go env GOVERSION && sha256sum "${files[@]}"; } | sha256sum)
	digest=${digest:0:16}
}

# required prints the version that go.mod requires of module $1.
required() {
	awk -v module="$1" '$1 == module && $2 ~ /^v/ {print $2; exit}' go.mod
}

# version_flags prints the linker flags that make every command report the Kubernetes version that go.mod pins: in a
# release build they come from git.
version_flags() {
	local version package
	version=$(required k8s.io/kubernetes)
	[[ $version =~ ^v([0-9]+)\.([0-9]+)\. ]] || { echo "build.sh: go.mod requires no k8s.io/kubernetes" >&2; return 1; }
	for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
		printf -- '-X %s.gitVersion=%s -X %s.gitMajor=%s -X %s.gitMinor=%s -X %s.gitCommit= -X %s.gitTreeState=clean ' \
			"$package" "$version" "$package" "${BASH_REMATCH[1]}" "$package" "${BASH_REMATCH[2]}" "$package" "$package"
	done
}

# progress reads the lines of `go build -v`, one package each, and shows how far it is: one line that is rewritten on a
# terminal, else a line every ten seconds. Whatever is no package is a message of the compiler and passes through.
progress() {
	local total=$1 done=0 line shown=-10 status package='^[A-Za-z0-9_.~/-]+$'
	while true; do
		status=0
		IFS= read -r -t 1 line || status=$?
		if ((status == 0)); then
			if [[ $line =~ $package ]]; then done=$((done + 1)); else echo "$line" >&2; fi
		elif ((status <= 128)); then # 128 and more: nothing to read for a second
			break
		fi
		if [[ -t 2 ]]; then
			printf '\r\033[Kkube: %d of about %d packages built, %d s' "$done" "$total" "$SECONDS" >&2
		elif ((SECONDS - shown >= 10)); then
			shown=$SECONDS
			echo "kube: $done of about $total packages built, $SECONDS s" >&2
		fi
	done
	if [[ -t 2 ]]; then echo >&2; fi
}

# remove_old removes what an interrupted build left behind, for this one holds the lock, and the folders out of use.
remove_old() {
	local old
	while IFS= read -r -d '' old; do
		# Processes of other users cannot be seen, and do not run from this cache.
		[[ -n $(find /proc/[0-9]*/exe -maxdepth 0 -lname "$old/*" 2>/dev/null || true) ]] || rm -rf "$old"
	done < <(find "$cache" -mindepth 1 -maxdepth 1 -type d \( -name '.building-*' -o -mmin "+$keep_minutes" \) ! -path "$1" -print0)
}

build() {
	local folder=$1 total name
	echo "kube: building Kubernetes $(required k8s.io/kubernetes) and etcd $(required go.etcd.io/etcd/server/v3); the first time this takes 5 to 9 minutes on two cores" >&2
	echo "kube: fetching modules" >&2
	total=$(go list -deps . | wc -l)
	work=$(mktemp -d "$cache/.building-XXXXXX") # not local: the trap reads it outside of this function
	trap 'rm -rf "$work"' EXIT
	go build -v -trimpath -ldflags "-s -w $(version_flags)" -o "$work/kube" . 2>&1 | progress "$total"
	for name in "${names[@]}"; do
		ln -s kube "$work/$name"
	done
	chmod 755 "$work"
	mv -T "$work" "$folder"
	trap - EXIT
	echo "kube: built in $SECONDS s" >&2
	remove_old "$folder"
}

digest
folder=$cache/$digest
if [[ ! -d $folder ]]; then
	mkdir -p "$cache"
	exec 9>"$cache/.lock"
	if ! flock --nonblock 9; then
		echo "kube: another build is under way, waiting for it" >&2
		flock 9
	fi
	[[ -d $folder ]] || build "$folder"
fi
touch -c "$folder"
echo "$folder"
