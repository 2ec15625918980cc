// Package process starts and ends the operating-system processes that stand for containers.
//
//   - A process leads a process group of its own. What it starts stays in its group unless it leaves it, and goes when the
//     process ends, as the rest of a container goes with its first process.
//   - It ends with the process that started it, however that one ends (Linux).
//   - It carries a marker in its environment. After a hard end of the starter, what escaped is found by it (Linux).
package process
