// Times preq's engine on a file: main RULES LOG prints {"cpu_s": …, "cres": …}, in processor seconds, without loading the rules.
//
// The engine's own entry point for a text in memory is used, since preq's command wants a login before it looks at a file.
package main

import (
	"context"
	"encoding/json"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/prequel-dev/preq/pkg/eval"
	"github.com/rs/zerolog"
)

func main() {
	zerolog.SetGlobalLevel(zerolog.Disabled)
	rules, err := os.ReadFile(os.Args[1])
	check(err)
	log, err := os.ReadFile(os.Args[2])
	check(err)
	head := strings.Join(strings.SplitAfterN(string(log), "\n", 11)[:10], "")
	load, _ := timed(string(rules), head)
	all, cres := timed(string(rules), string(log))
	check(json.NewEncoder(os.Stdout).Encode(map[string]any{"cpu_s": all - load, "cres": cres}))
}

func timed(rules, log string) (float64, int) {
	start := processor()
	report, _, err := eval.Detect(context.Background(), nil, log, rules)
	check(err)
	return (processor() - start).Seconds(), len(report)
}

// processor is the time that all threads have run.
func processor() time.Duration {
	var used syscall.Rusage
	check(syscall.Getrusage(syscall.RUSAGE_SELF, &used))
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
