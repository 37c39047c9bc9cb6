// A library with a C++ thread_local object that has a destructor, and exceptions that cross a callback.
#include <atomic>
#include <exception>
#include <string>

static std::atomic<long> living_objects;

namespace {
struct Object {
    std::string text;
    int bumps = 0;
    Object() : text("a string long enough to be allocated on the heap") { living_objects++; }
    ~Object() { living_objects--; }
};
} // namespace

thread_local Object object;

// Counts up this thread's object.
extern "C" int cpp_bump() {
    return ++object.bumps;
}

// How many objects are alive in all threads.
extern "C" long cpp_living_objects() {
    return living_objects;
}

// Throws `value`, calls `between` inside the first handler, rethrows, calls `between` inside the second handler,
// and returns what was caught there.
extern "C" int cpp_throw_and_rethrow(int value, void (*between)()) {
    try {
        try {
            throw value;
        } catch (int) {
            between();
            throw;
        }
    } catch (int caught) {
        between();
        return caught;
    }
    return -1;
}

// Calls `between` while destructors run because of an exception, and returns how many exceptions were in flight there.
extern "C" int cpp_unwind_through(void (*between)()) {
    int in_flight = 0;
    struct Guard {
        void (*between)();
        int *in_flight;
        ~Guard() {
            between();
            *in_flight = std::uncaught_exceptions();
        }
    };
    try {
        Guard guard{between, &in_flight};
        throw 1;
    } catch (int) {
    }
    return in_flight;
}
