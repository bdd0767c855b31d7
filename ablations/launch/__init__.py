"""Where runs are carried out. One file per launcher."""
