// Package environment works out what a container's process is told: its variables, its arguments, and where its program
// is.
//
//   - A variable's value may refer to variables that stand before it, as $(NAME); so may arguments, to all of them. What
//     refers to nothing stays as it is, and $$ stands for one $.
//   - A value that is a folder mounted into the container, or lies below one, is given as the folder that stands for it on
//     this machine: processes have no mounts.
//
// Everything here is plain values; what has to be asked of the API server comes in through a Source.
package environment
