"""SFTP: the hive's files over SSH (draft-ietf-secsh-filexfer-02, which is version 3, as OpenSSH speaks it)."""
