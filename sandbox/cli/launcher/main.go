// Windows can't start a script, so there the stand-in for the CLI is this program: it starts the command that its own
// file ends with, a JSON list of its words and then the list's length in four bytes, with the arguments that it gets.
package main

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
)

func main() {
	words, err := ownCommand()
	if err == nil {
		command := exec.Command(words[0], append(words[1:], os.Args[1:]...)...)
		command.Stdin, command.Stdout, command.Stderr = os.Stdin, os.Stdout, os.Stderr
		err = command.Run()
		if command.ProcessState != nil {
			os.Exit(command.ProcessState.ExitCode())
		}
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func ownCommand() (words []string, err error) {
	path, err := os.Executable()
	if err != nil {
		return nil, err
	}
	bytes, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	end := len(bytes) - 4
	length := int(binary.LittleEndian.Uint32(bytes[end:]))
	return words, json.Unmarshal(bytes[end-length:end], &words)
}
