"""Records of entities: rules that find candidate pairs of records, and clusters of records that match."""
