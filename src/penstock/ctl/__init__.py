"""penstockctl, the command-line client. Modules here import only what every command needs; the rest comes when used."""
