"""Who is told: receivers of syslog messages and of SNMP notifications."""
