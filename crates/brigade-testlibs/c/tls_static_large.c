/* A library that takes more of every thread's static TLS block (initial-exec model) than padding can hold, and
 * less than what glibc keeps spare for kernel threads: glibc loads it, green threads have no room for it. */

__attribute__((tls_model("initial-exec"))) __thread long static_table[128] = {1234567};

/* The value this thread sees. */
long static_value(void) {
    return static_table[0];
}
