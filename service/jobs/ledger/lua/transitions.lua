-- Shared by every script: the steps that shards and jobs take.
local function load_shard(job, shard)
  local text = redis.call('HGET', shards_key(job), shard)
  if text then return cjson.decode(text) end
  return {s = 'R', a = 0, f = 0}
end

local function save_shard(job, shard, rec)
  redis.call('HSET', shards_key(job), shard, cjson.encode(rec))
  touch(job)
end

-- Note when how many images were done: [gap, time, images, time, images, ...]. Once it is full every second entry goes,
-- and the gap between entries doubles, so that it covers the whole job at an even pace.
local function leave_trail(job, at, done)
  if at < num(job, 'trail_due') then return end
  local text = redis.call('HGET', job_key(job), 'trail')
  local trail = text and cjson.decode(text) or {TRAIL_MS}
  table.insert(trail, at)
  table.insert(trail, done)
  if #trail > 2 * TRAIL then
    local thin = {trail[1] * 2}
    for i = 2, #trail, 4 do
      table.insert(thin, trail[i])
      table.insert(thin, trail[i + 1])
    end
    trail = thin
  end
  redis.call('HSET', job_key(job), 'trail', cjson.encode(trail), 'trail_due', trail[#trail - 1] + trail[1])
end

-- Raise the high-water mark of images and fold what is new into the recent speed.
local function advance(job, at)
  local done = num(job, 'committed') + num(job, 'live')
  local delta = done - num(job, 'high')
  if delta <= 0 then return end
  local rate = num(job, 'rate') * math.exp((num(job, 'rate_at') - at) / TAU_MS) + delta * 1000 / TAU_MS
  redis.call('HSET', job_key(job), 'high', done, 'rate', rate, 'rate_at', at)
  leave_trail(job, at, done)
end

-- Note why a job makes no progress: its last failed attempt, or what keeps its end from being written.
local function note_wait(job, why)
  if redis.call('HGET', job_key(job), 'wait') == why then return end
  redis.call('HSET', job_key(job), 'wait', why)
  touch(job)
end

local function end_wait(job) redis.call('HDEL', job_key(job), 'wait', 'stalled', 'cancel', 'step') end

-- Take the lease off a record; the caller gives it its next state and saves it.
local function end_lease(job, shard, rec)
  redis.call('HINCRBY', job_key(job), 'running', -1)
  redis.call('HINCRBY', job_key(job), 'live', 0 - (rec.p or 0))
  redis.call('ZREM', P .. 'leases', member(job, shard))
  rec.p, rec.t, rec.u, rec.o = nil, nil, nil, nil
end

-- Forget the hints of a job that are on their way; what they name is ready again.
local function forget_hints(job)
  local at, first = now(), num(job, 'next')
  for _, name in ipairs(redis.call('ZRANGE', P .. 'hints', 0, -1)) do
    local hinted, shard = name:match('^(%S+) (%d+)$')
    if hinted == job then
      redis.call('ZREM', P .. 'hints', name)
      if redis.call('HEXISTS', shards_key(job), shard) == 0 then
        first = math.min(first, tonumber(shard))
      elseif load_shard(job, shard).s == 'R' then
        redis.call('ZADD', ready_key(job), at, shard)
      end
    end
  end
  redis.call('HSET', job_key(job), 'next', first)
end

-- Hand out the shards of a waiting job again; its speed before says nothing about the time left.
local function reopen(job)
  redis.call('HDEL', job_key(job), 'trail', 'trail_due')
  end_wait(job)
  set_state(job, redis.call('HEXISTS', job_key(job), 'started') == 1 and 'RUNNING' or 'QUEUED')
  open_job(job)
  wake()
end

-- Schedule the deletion of a finished job that has a ttl.
local function expire_later(job)
  local ttl = num(job, 'ttl')
  if ttl > 0 then redis.call('ZADD', P .. 'expiring', num(job, 'ended') + ttl, job) end
end

-- Hand out no more shards of a job, and finish it once no worker holds any.
local function stop(job)
  set_state(job, 'CANCELLING')
  dequeue_job(job)
  redis.call('ZADD', P .. 'ending', 0, job)
  redis.call('UNLINK', ready_key(job))
  wake()
end

local function wake_if_ending(job)
  if redis.call('ZSCORE', P .. 'ending', job) then wake() end
end

local function close_if_complete(job)
  if num(job, 'done') + num(job, 'failed') < num(job, 'shards') then return end
  local state = state_of(job)
  if goes_on(state) or state == 'PAUSED' then
    set_state(job, 'FINALIZING')
    dequeue_job(job)
    redis.call('ZADD', P .. 'ending', 0, job)
  end
  wake()
end

-- End a job of which too many shards have failed, or whose folder is gone: the rest is not begun, and workers give their
-- shards back at their next micro-batch.
local function fail_fast(job, why)
  local most, state = redis.call('HGET', job_key(job), 'max_failed'), state_of(job)
  local lost = why:sub(1, 12) == 'OUTPUT_LOST:'
  if not lost and (not most or num(job, 'failed') <= tonumber(most)) then return end
  if not goes_on(state) and state ~= 'PAUSED' then return end
  forget_hints(job)
  set_state(job, 'FINALIZING')
  dequeue_job(job)
  redis.call('ZADD', P .. 'ending', 0, job)
  redis.call('UNLINK', ready_key(job))
end

-- Make a shard ready again from `earliest` on.
local function give_back(job, shard, rec, earliest)
  rec.s = 'R'
  save_shard(job, shard, rec)
  local state = state_of(job)
  if goes_on(state) or state == 'PAUSED' then redis.call('ZADD', ready_key(job), earliest, shard) end
  if goes_on(state) then open_or_wait(job) end
  wake_if_ending(job)
end

-- End an attempt that failed: ready again after a pause that doubles, or failed for good.
local function end_failed(job, shard, rec, why, max_attempts, pause_ms)
  end_lease(job, shard, rec)
  rec.f = (rec.f or 0) + 1
  rec.e = why
  note_wait(job, why)
  if rec.f < max_attempts then
    give_back(job, shard, rec, now() + pause_ms * 2 ^ (rec.f - 1))
    return true
  end
  rec.s = 'F'
  save_shard(job, shard, rec)
  redis.call('HINCRBY', job_key(job), 'failed', 1)
  close_if_complete(job)
  fail_fast(job, why)
  wake_if_ending(job)
  return false
end

-- Count a shard as done, whose file and marker are in place.
local function settle(job, shard, rec, digest, images, bytes)
  redis.call('ZREM', ready_key(job), shard)
  redis.call('ZREM', P .. 'hints', member(job, shard))
  local counted = rec.x -- the same bytes were counted when they were committed first
  rec.s, rec.d, rec.e, rec.x = 'D', digest, nil, nil
  save_shard(job, shard, rec)
  redis.call('HINCRBY', job_key(job), 'done', 1)
  redis.call('HINCRBY', job_key(job), 'committed', images)
  if not counted then
    redis.call('HINCRBY', job_key(job), 'bytes', bytes)
    add_bytes(redis.call('HGET', job_key(job), 'client'), tonumber(bytes))
  end
end

-- Return the record if the caller's attempt holds the shard, else nil.
local function held(job, shard, attempt)
  local rec = load_shard(job, shard)
  if rec.s == 'L' and rec.a == tonumber(attempt) then return rec end
  return nil
end
