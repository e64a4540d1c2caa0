"""Getting to a share and staying there: the account, the connection that stores share, and the server's abilities."""
