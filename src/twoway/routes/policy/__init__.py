"""What tests come to for routes: judgement, damping, election. Pure: no loop, no socket, no clock, no kernel."""
