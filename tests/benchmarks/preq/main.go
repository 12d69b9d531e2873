// Times preq's engine on a file: main RULES LOG prints {"load_s": …, "run_s": …, "cres": …}.
//
// The engine's own entry point for a text in memory is used, since preq's command wants a login before it looks at a file.
package main

import (
	"context"
	"encoding/json"
	"os"
	"strings"
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
	check(json.NewEncoder(os.Stdout).Encode(map[string]any{"load_s": load, "run_s": all - load, "cres": cres}))
}

func timed(rules, log string) (float64, int) {
	start := time.Now()
	report, _, err := eval.Detect(context.Background(), nil, log, rules)
	check(err)
	return time.Since(start).Seconds(), len(report)
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
