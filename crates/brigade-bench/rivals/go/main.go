// The Go rival: the same workloads as goroutines, for one child process of
// brigade-bench. It takes the work as flags and prints one JSON sample.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"os"
	"runtime"
	"sort"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const tick = 10 * time.Millisecond

// channelCapacity is what the channel of channel-4x4 holds.
const channelCapacity = 128

type sample struct {
	Metrics map[string]float64 `json:"metrics"`
}

func main() {
	line := flag.String("line", "", "the workload")
	n := flag.Uint64("n", 1000, "its size")
	workers := flag.Int("workers", 2, "GOMAXPROCS")
	passes := flag.Int("passes", 4, "repeats in this process")
	flag.Parse()
	runtime.GOMAXPROCS(*workers)
	metrics, err := run(*line, *n, *passes)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if err := json.NewEncoder(os.Stdout).Encode(sample{metrics}); err != nil {
		os.Exit(1)
	}
}

func run(line string, n uint64, passes int) (map[string]float64, error) {
	switch line {
	case "spawn-join-all":
		return inPasses(passes, func() (uint64, error) { return check(spawnJoinAll(n), n, n) })
	case "spawn-join-one":
		return inPasses(passes, func() (uint64, error) { return check(spawnJoinOne(n), n, n) })
	case "yield-2":
		return inPasses(passes, func() (uint64, error) { return yields(2, n), nil })
	case "yield-1000":
		return inPasses(passes, func() (uint64, error) { return yields(1000, n), nil })
	case "skynet":
		return inPasses(passes, func() (uint64, error) { return skynetPass(n) })
	case "mutex-8":
		return inPasses(passes, func() (uint64, error) { return locks(8, n) })
	case "mutex-1000":
		return inPasses(passes, func() (uint64, error) { return locks(1000, n) })
	case "ping-pong":
		return inPasses(passes, func() (uint64, error) { return check(pingPong(n), n, n) })
	case "channel-4x4":
		return inPasses(passes, func() (uint64, error) { return check(fourByFour(n), n*(n-1)/2, n) })
	case "ring-503":
		return inPasses(passes, func() (uint64, error) { return check(ring(503, n), n, n) })
	case "fib":
		return inPasses(passes, func() (uint64, error) { return check(fib(n), fibValue(n), fibSpawns(n)) })
	case "parked-memory":
		return parkedMemory(n)
	case "sleep-1m":
		return sleepers(n), nil
	case "ticker-hogs":
		return ticker(n, hogs)
	case "ticker-blocking":
		return ticker(n, blockers)
	}
	return nil, fmt.Errorf("the Go rival has no workload %q", line)
}

func check(got, want, ops uint64) (uint64, error) {
	if got != want {
		return 0, fmt.Errorf("the result is %d, must be %d", got, want)
	}
	return ops, nil
}

// spawnJoinAll returns how many goroutines ran. A WaitGroup is Go's join.
func spawnJoinAll(n uint64) uint64 {
	var all sync.WaitGroup
	var ran atomic.Uint64
	all.Add(int(n))
	for i := uint64(0); i < n; i++ {
		go func() {
			ran.Add(1)
			all.Done()
		}()
	}
	all.Wait()
	return ran.Load()
}

func spawnJoinOne(n uint64) uint64 {
	sum := uint64(0)
	done := make(chan uint64)
	for i := uint64(0); i < n; i++ {
		go func() { done <- 1 }()
		sum += <-done
	}
	return sum
}

func yields(threads, n uint64) uint64 {
	each := n / threads
	var all sync.WaitGroup
	all.Add(int(threads))
	for t := uint64(0); t < threads; t++ {
		go func() {
			for i := uint64(0); i < each; i++ {
				runtime.Gosched()
			}
			all.Done()
		}()
	}
	all.Wait()
	return each * threads
}

func skynetPass(n uint64) (uint64, error) {
	result := make(chan uint64, 1)
	go skynet(result, 0, n)
	return check(<-result, n*(n-1)/2, n)
}

func skynet(result chan<- uint64, first, leaves uint64) {
	if leaves == 1 {
		result <- first
		return
	}
	part := leaves / 10
	children := make(chan uint64, 10)
	for i := uint64(0); i < 10; i++ {
		go skynet(children, first+i*part, part)
	}
	sum := uint64(0)
	for i := 0; i < 10; i++ {
		sum += <-children
	}
	result <- sum
}

func locks(threads, n uint64) (uint64, error) {
	each := n / threads
	var all sync.WaitGroup
	var lock sync.Mutex
	total := uint64(0)
	all.Add(int(threads))
	for t := uint64(0); t < threads; t++ {
		go func() {
			for i := uint64(0); i < each; i++ {
				lock.Lock()
				total++
				lock.Unlock()
			}
			all.Done()
		}()
	}
	all.Wait()
	return check(total, each*threads, each*threads)
}

func pingPong(n uint64) uint64 {
	ping, pong := make(chan uint64), make(chan uint64)
	go func() {
		for value := range ping {
			pong <- value + 1
		}
		close(pong)
	}()
	done := make(chan uint64)
	go func() {
		value := uint64(0)
		for i := uint64(0); i < n; i++ {
			ping <- value
			value = <-pong
		}
		close(ping)
		done <- value
	}()
	count := <-done
	<-pong
	return count
}

func fourByFour(n uint64) uint64 {
	messages := make(chan uint64, channelCapacity)
	var producers sync.WaitGroup
	producers.Add(4)
	for p := uint64(0); p < 4; p++ {
		go func(first uint64) {
			for value := first; value < n; value += 4 {
				messages <- value
			}
			producers.Done()
		}(p)
	}
	sums := make(chan uint64)
	for c := 0; c < 4; c++ {
		go func() {
			sum := uint64(0)
			for value := range messages {
				sum += value
			}
			sums <- sum
		}()
	}
	producers.Wait()
	close(messages)
	return <-sums + <-sums + <-sums + <-sums
}

// ring passes a token around, one less at each hop. Who takes the last one
// closes its channel, and so does each of the others when it sees that.
func ring(members, n uint64) uint64 {
	hops := make(chan uint64)
	start := make(chan uint64)
	in := start
	for m := uint64(0); m < members; m++ {
		out := start
		if m < members-1 {
			out = make(chan uint64)
		}
		go func(in <-chan uint64, out chan<- uint64) {
			seen := uint64(0)
			for token := range in {
				seen++
				if token == 1 {
					break
				}
				out <- token - 1
			}
			close(out)
			hops <- seen
		}(in, out)
		in = out
	}
	start <- n
	sum := uint64(0)
	for m := uint64(0); m < members; m++ {
		sum += <-hops
	}
	return sum
}

func fib(n uint64) uint64 {
	if n < 2 {
		return n
	}
	branch := make(chan uint64, 1)
	go func() { branch <- fib(n - 1) }()
	other := fib(n - 2)
	return <-branch + other
}

func fibValue(n uint64) uint64 {
	a, b := uint64(0), uint64(1)
	for ; n > 0; n-- {
		a, b = b, a+b
	}
	return a
}

func fibSpawns(n uint64) uint64 {
	if n < 2 {
		return 0
	}
	return 1 + fibSpawns(n-1) + fibSpawns(n-2)
}

func parkedMemory(n uint64) (map[string]float64, error) {
	never := make(chan struct{})
	var arrived atomic.Uint64
	resident, tables, err := memory()
	if err != nil {
		return nil, err
	}
	start := time.Now()
	for i := uint64(0); i < n; i++ {
		go func() {
			arrived.Add(1)
			<-never
		}()
	}
	for arrived.Load() < n {
		time.Sleep(time.Millisecond)
	}
	time.Sleep(50 * time.Millisecond)
	started := float64(time.Since(start).Nanoseconds()) / float64(n)
	residentNow, tablesNow, err := memory()
	return map[string]float64{
		"resident_bytes": (residentNow - resident) / float64(n),
		"tables_bytes":   (tablesNow - tables) / float64(n),
		"start_ns":       started,
	}, err
}

// memory returns VmRSS and VmPTE in bytes.
func memory() (resident, tables float64, err error) {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, 0, err
	}
	for _, row := range strings.Split(string(text), "\n") {
		fields := strings.Fields(row)
		if len(fields) < 2 {
			continue
		}
		switch fields[0] {
		case "VmRSS:":
			resident, err = strconv.ParseFloat(fields[1], 64)
		case "VmPTE:":
			tables, err = strconv.ParseFloat(fields[1], 64)
		}
		if err != nil {
			return 0, 0, err
		}
	}
	return resident * 1024, tables * 1024, nil
}

func sleepers(n uint64) map[string]float64 {
	start, used := time.Now(), cpuSeconds()
	var all sync.WaitGroup
	all.Add(int(n))
	for i := uint64(0); i < n; i++ {
		go func() {
			time.Sleep(time.Second)
			all.Done()
		}()
	}
	all.Wait()
	return map[string]float64{
		"wall_s": time.Since(start).Seconds(),
		"cpu_s":  cpuSeconds() - used,
	}
}

func ticker(n uint64, beside func(end time.Time, all *sync.WaitGroup)) (map[string]float64, error) {
	end := time.Now().Add(time.Duration(n) * time.Millisecond)
	late := make(chan []time.Duration)
	running := make(chan struct{})
	go func() {
		close(running)
		late <- tickUntil(end)
	}()
	<-running
	var all sync.WaitGroup
	beside(end, &all)
	all.Wait()
	return lateness(<-late)
}

func tickUntil(end time.Time) []time.Duration {
	var late []time.Duration
	for due := time.Now().Add(tick); due.Before(end); due = due.Add(tick) {
		time.Sleep(time.Until(due))
		late = append(late, time.Since(due))
	}
	return late
}

func lateness(late []time.Duration) (map[string]float64, error) {
	if len(late) == 0 {
		return nil, fmt.Errorf("the ticker never ticked")
	}
	sort.Slice(late, func(i, j int) bool { return late[i] < late[j] })
	rank := func(p float64) float64 {
		at := int(math.Ceil(p * float64(len(late))))
		if at < 1 {
			at = 1
		}
		return float64(late[at-1].Nanoseconds()) / 1e6
	}
	return map[string]float64{"p50_ms": rank(0.5), "p99_ms": rank(0.99), "max_ms": rank(1)}, nil
}

var sink atomic.Uint64

func hogs(end time.Time, all *sync.WaitGroup) {
	for i := 0; i < 8; i++ {
		all.Add(1)
		go func() {
			for time.Now().Before(end) {
				x := uint64(0)
				for i := uint64(0); i < 10_000; i++ {
					x ^= i * x
				}
				sink.Store(x)
			}
			all.Done()
		}()
	}
}

// blockers: four goroutines sleep in the kernel again and again, four read a
// silent pipe. Plain system calls, because time.Sleep would only park them.
func blockers(end time.Time, all *sync.WaitGroup) {
	var pipe [2]int
	if err := syscall.Pipe(pipe[:]); err != nil {
		panic(err)
	}
	all.Add(8)
	for i := 0; i < 4; i++ {
		go func() {
			for time.Now().Before(end) {
				nap := syscall.NsecToTimespec(int64(20 * time.Millisecond))
				_ = syscall.Nanosleep(&nap, nil)
			}
			all.Done()
		}()
		go func() {
			_, _ = syscall.Read(pipe[0], make([]byte, 1))
			all.Done()
		}()
	}
	time.AfterFunc(time.Until(end), func() { _ = syscall.Close(pipe[1]) })
}

func inPasses(passes int, pass func() (uint64, error)) (map[string]float64, error) {
	var wall, cpu []float64
	for i := 0; i < passes || i == 0; i++ {
		start, used := time.Now(), cpuSeconds()
		ops, err := pass()
		if err != nil {
			return nil, err
		}
		wall = append(wall, float64(time.Since(start).Nanoseconds())/float64(ops))
		cpu = append(cpu, (cpuSeconds()-used)*1e9/float64(ops))
	}
	first := wall[0]
	if len(wall) > 1 {
		wall, cpu = wall[1:], cpu[1:]
	}
	return map[string]float64{"op_ns": median(wall), "op_cpu_ns": median(cpu), "first_ns": first}, nil
}

func median(values []float64) float64 {
	sort.Float64s(values)
	mid := len(values) / 2
	if len(values)%2 == 1 {
		return values[mid]
	}
	return (values[mid-1] + values[mid]) / 2
}

// cpuSeconds is the processor time of every thread of the process.
func cpuSeconds() float64 {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err)
	}
	seconds := func(t syscall.Timeval) float64 { return float64(t.Sec) + float64(t.Usec)/1e6 }
	return seconds(usage.Utime) + seconds(usage.Stime)
}
