"""TWAMP-Control and OWAMP-Control as pure machines: octets, events and `now` in; octets, events and named timers out.

Read first: RFC 4656 section 3 and RFC 5357 section 3, then

* `registry`: modes, Accept values and command numbers; `rules`: what a peer can break, each with its section;
* `codec`, `owamp_codec`: the messages; `stream`: octets to messages, with their encryption and HMACs; `security`: keys;
* `transitions`: the automata, as tables; `events`: what happened; `configuration`: what the owner of a machine chooses;
* `connection`: what both ends share; `control_client` and `server`: the two ends.

Nothing here reads a clock, opens a socket or makes a random number: the caller brings them.
"""
