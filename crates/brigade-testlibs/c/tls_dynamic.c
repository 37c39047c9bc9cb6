/* A library whose thread-local storage is found through the dtv (general-dynamic model). */

__thread int dynamic_counter = 7;
__thread char dynamic_buffer[4096] = {1, 2, 3};

/* Counts up this thread's counter and dirties this thread's buffer; returns the counter. */
int dynamic_bump(void) {
    dynamic_buffer[100]++;
    return ++dynamic_counter;
}

/* The address of this thread's counter. */
void *dynamic_address(void) {
    return &dynamic_counter;
}

/* True while this thread's buffer holds its initial image and as many bumps as the counter says. */
int dynamic_image_is_intact(void) {
    return dynamic_buffer[0] == 1 && dynamic_buffer[1] == 2 && dynamic_buffer[2] == 3
        && dynamic_buffer[100] == (char)(dynamic_counter - 7);
}
