-- When the phase or the percentage of a running job last changed: what tells a stuck job from a slow one.
ALTER TABLE jobs ADD COLUMN progressed_at timestamptz;
