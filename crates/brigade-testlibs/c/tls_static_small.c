/* A library that takes eight bytes of every thread's static TLS block (initial-exec model). */

__attribute__((tls_model("initial-exec"))) __thread long static_counter = 1234567;

/* The value this thread sees. */
long static_value(void) {
    return static_counter;
}

/* Counts up this thread's value and returns it. */
long static_bump(void) {
    return ++static_counter;
}
