-- What a key may do. Keys from before this migration may do everything, as they could.
ALTER TABLE api_keys ADD COLUMN scope text NOT NULL DEFAULT 'admin' CHECK (scope IN ('read', 'write', 'admin'));
-- The only collections that the key is for. NULL: all of them.
ALTER TABLE api_keys ADD COLUMN collections bigint[];
-- NULL: never.
ALTER TABLE api_keys ADD COLUMN expires_at timestamptz;
-- Whether an operator supplied the key. NULL: the key is older than this column.
ALTER TABLE api_keys ADD COLUMN supplied boolean;
