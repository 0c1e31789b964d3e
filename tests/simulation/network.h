#pragma once
/* The virtual network: messages are lost, doubled, late, out of order, held up, or kept for later as the plan says. Who may be told what by whom is as with ROUTER and DEALER sockets:
 * to a server or the coordinator goes what is sent to its door, whoever sits there now; back goes what is sent to a connection that stands. */
#include "tests/simulation/world.h"

/* sim_network_send sends a copy. False: there is no way to that peer (the ROUTER socket says so). */
bool sim_network_send(struct sim_world *world, struct sim_process *from, struct sl_address to,
        const struct sl_message *message);
/* sim_network_arrive opens a flight for its receiver. Owns: frees the flight; *ret_message NULL when the receiver is not who it was for. */
void sim_network_arrive(struct sim_world *world, struct sim_flight *flight, struct sl_address *ret_from,
        struct sl_message **ret_message);
void sim_flight_free(struct sim_flight *flight);

/* sim_network_cut makes a group of processes unreachable, from the rest, for the rest, or both; sim_network_clog holds up what goes to and from one. */
void sim_network_cut(struct sim_world *world, int64_t until_us);
void sim_network_clog(struct sim_world *world, int64_t until_us);
void sim_network_heal(struct sim_world *world);
