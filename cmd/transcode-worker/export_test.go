package main

// Run is the program, for the test binary to play it.
func Run() int { return run() }
