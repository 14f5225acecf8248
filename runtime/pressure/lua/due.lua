--- How many due items one script still makes runnable, of all its families together.
--- @const DUE_PER_CALL

local due_left = 4 * DUE_PER_CALL
