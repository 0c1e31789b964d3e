#pragma once
/* sim_scale runs an undisturbed training of many workers and servers and prints messages and the coordinator's time per message. Gives an exit code. */
int sim_scale(int workers, int servers);
