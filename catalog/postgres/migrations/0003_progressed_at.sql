-- When the phase or percentage of a running job last changed. It distinguishes a stuck job from a slow one.
ALTER TABLE jobs ADD COLUMN progressed_at timestamptz;
