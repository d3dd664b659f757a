-- Shared by every script. KEYS[1] is the prefix of all keys; the others are built from it, so Redis Cluster is not
-- supported. Every script answers one JSON text.
--
--   jobs                zset, all ids, in order of their names (they begin with the time)
--   open                zset, ids of jobs that may have shards to hand out
--   ending              zset, ids of jobs that the dispatcher must finish
--   expiring            zset, ids of jobs that the dispatcher must delete -> when
--   leases              zset "job shard" -> end of the lease
--   hints               zset "job shard" -> when its message was last sent
--   workers             zset "slots name" -> last sign of life
--   turns               hash, whose turn it is: 'now', 'client NAME', 'jobs NAME' in turns (dispatch.lua)
--   rebuilt             set after the jobs on disk were indexed; gone when Redis was emptied
--   held                hash job -> what it counts for while it has not ended: client c, images n, backend name b
--   reserved            zset, ids of jobs in `held` that are just being created -> when that counts as broken off
--   client:{name}       hash: `jobs` and `images` of jobs in `held`, `bytes` of the finished shards of all jobs
--   pins                hash backend name -> number of jobs in `held` that need it
--   wake                list, rings when there is something to do
--   request:{id}        {digest, job} of a request id
--   job:{id}            hash: plan, what jobs are listed by (state, kind, client, labels), counters (below)
--   job:{id}:shards     hash shard -> record; a shard without one was never claimed
--   job:{id}:ready      zset shard -> earliest time of the next claim, of shards that came back
--
-- A record: s state (R, L, D, F), a attempts, f failures, o owner, w worker, t time of the claim, u end of the lease,
-- p images done in this attempt, d digest, e error. Counters: `committed` images of done shards, `live` images of leased
-- ones, `high` their sum's highest value, `trail` its course, `took` and `took2` the sums of the times that finished
-- shards took and of their squares, `round` how often failed shards were retried. Times are milliseconds since 1970 by
-- Redis's own clock.
local P = KEYS[1]
local TAU_MS = 10000
local TRAIL, TRAIL_MS = 64, 500

local function now()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

local function job_key(job) return P .. 'job:' .. job end
local function shards_key(job) return P .. 'job:' .. job .. ':shards' end
local function ready_key(job) return P .. 'job:' .. job .. ':ready' end
local function member(job, shard) return job .. ' ' .. shard end
local function num(job, field) return tonumber(redis.call('HGET', job_key(job), field) or '0') end
local function state_of(job) return redis.call('HGET', job_key(job), 'state') end
local function goes_on(state) return state == 'QUEUED' or state == 'RUNNING' end
local function has_ended(state)
  return state == 'SUCCEEDED' or state == 'PARTIALLY_SUCCEEDED' or state == 'FAILED' or state == 'CANCELLED'
end
local function wake()
  redis.call('LPUSH', P .. 'wake', '1')
  redis.call('LTRIM', P .. 'wake', 0, 0)
end

local function touch(job) redis.call('HINCRBY', job_key(job), 'rev', 1) end

local function set_state(job, state)
  redis.call('HSET', job_key(job), 'state', state)
  touch(job)
end

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

-- Hand out the shards of a job that waits, again; how fast it was before tells nothing of the time left.
local function reopen(job)
  redis.call('HDEL', job_key(job), 'trail', 'trail_due')
  set_state(job, redis.call('HEXISTS', job_key(job), 'started') == 1 and 'RUNNING' or 'QUEUED')
  redis.call('ZADD', P .. 'open', 0, job)
  wake()
end

-- Delete a job that has ended when its time has come, if it has one.
local function expire_later(job)
  local ttl = num(job, 'ttl')
  if ttl > 0 then redis.call('ZADD', P .. 'expiring', num(job, 'ended') + ttl, job) end
end

local function wake_if_ending(job)
  if redis.call('ZSCORE', P .. 'ending', job) then wake() end
end

local function close_if_complete(job)
  if num(job, 'done') + num(job, 'failed') < num(job, 'shards') then return end
  local state = state_of(job)
  if state == 'RUNNING' or state == 'PAUSED' then
    set_state(job, 'FINALIZING')
    redis.call('ZREM', P .. 'open', job)
    redis.call('ZADD', P .. 'ending', 0, job)
  end
  wake()
end

-- End a job of which more shards have failed than may: the rest is not begun, and whoever holds a shard gives it back at
-- its next micro-batch.
local function give_up_if_hopeless(job)
  local most, state = redis.call('HGET', job_key(job), 'max_failed'), state_of(job)
  if not most or num(job, 'failed') <= tonumber(most) then return end
  if not goes_on(state) and state ~= 'PAUSED' then return end
  forget_hints(job)
  set_state(job, 'FINALIZING')
  redis.call('ZREM', P .. 'open', job)
  redis.call('ZADD', P .. 'ending', 0, job)
  redis.call('DEL', ready_key(job))
end

-- Make a shard ready again from `earliest` on.
local function give_back(job, shard, rec, earliest)
  rec.s = 'R'
  save_shard(job, shard, rec)
  local state = state_of(job)
  if goes_on(state) or state == 'PAUSED' then redis.call('ZADD', ready_key(job), earliest, shard) end
  if goes_on(state) then redis.call('ZADD', P .. 'open', 0, job) end
  wake_if_ending(job)
end

-- End an attempt that failed: ready again after a pause that doubles, or failed for good.
local function end_failed(job, shard, rec, why, max_attempts, pause_ms)
  end_lease(job, shard, rec)
  rec.f = (rec.f or 0) + 1
  rec.e = why
  if rec.f < max_attempts then
    give_back(job, shard, rec, now() + pause_ms * 2 ^ (rec.f - 1))
    return true
  end
  rec.s = 'F'
  save_shard(job, shard, rec)
  redis.call('HINCRBY', job_key(job), 'failed', 1)
  close_if_complete(job)
  give_up_if_hopeless(job)
  wake_if_ending(job)
  return false
end

-- Return the record if the caller's attempt holds the shard, else nil.
local function held(job, shard, attempt)
  local rec = load_shard(job, shard)
  if rec.s == 'L' and rec.a == tonumber(attempt) then return rec end
  return nil
end

local function answer(value) return cjson.encode(value) end
