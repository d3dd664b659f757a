-- Shared by every script. KEYS[1] is the prefix of all keys; the others are built from it, so Redis Cluster is not
-- supported. Every script answers one JSON text.
--
--   jobs                zset, all ids, in order of their names (they begin with the time)
--   clients             zset, names of clients with open jobs -> turn at which they may be served next (turns.lua)
--   open:{client}       zset, ids of its jobs that may have shards to hand out -> turn
--   waiting             zset, ids of jobs whose shards may all only be tried again later -> when
--   ending              zset, ids of jobs that the dispatcher must finish
--   expiring            zset, ids of jobs that the dispatcher must delete -> when
--   leases              zset "job shard" -> end of the lease
--   hints               zset "job shard" -> when its message was last sent
--   workers             zset "slots name" -> last heartbeat
--   slots               how many slots live workers had when hints were last chosen
--   turns               hash, whose turn it is: 'now', 'client NAME', 'jobs NAME' in turns (turns.lua)
--   rebuilt             the run of Redis in which the jobs on disk were indexed; gone when it was emptied
--   held                hash job -> what it counts for while unfinished: client c, images n, backend name b, jobs s,
--                       and until it is created its folder f
--   reserved            zset, ids of jobs in `held` that are being created -> when that counts as interrupted
--   client:{name}       hash: `jobs` and `images` of jobs in `held`, `bytes` of the finished shards of all jobs
--   needed              hash job -> number of jobs in `held` that need its files
--   unrecorded          set, ids of jobs whose intent the dispatcher must write beside their plan
--   pins                hash backend name -> number of jobs in `held` that need it
--   unreadable          hash prefix -> job, of those whose plan cannot be read
--   newer               set, ids of jobs whose shards an older Mintage did not hand out
--   storage             why jobs cannot be written, while they cannot; gone some time after its dispatcher
--   wake                list, rings when there is something to do
--   request:{id}        {digest, job} of a request id
--   job:{id}            hash: plan, what jobs are listed by (state, kind, client, labels), counters (below)
--   job:{id}:shards     hash shard -> record; a shard without one was never claimed
--   job:{id}:ready      zset shard -> earliest time of the next claim, of shards that came back
--
-- A record: s state (R, L, D, F), a attempts, f failures, o owner, w worker, t time of the claim, u end of the lease,
-- p images done in this attempt, d digest, e error, x digest of one that was done and is made again. Counters: `committed` images of done shards, `live` images of leased
-- ones, `high` their sum's highest value, `trail` its course, `took` and `took2` the sums of the times that finished
-- shards took and of their squares, `round` how often failed shards were retried, `mends` how often in this round
-- damaged ones were made again, `wait` why it makes no progress, `stalled` since when its end cannot be written, `cancel`
-- that a cancel came meanwhile, `step` what is being done to end it. Times are milliseconds since 1970 by Redis's own clock.
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

-- Have more hints sent as soon as there is less than one for each slot.
local function wake_if_few_hints()
  if redis.call('ZCARD', P .. 'hints') >= tonumber(redis.call('GET', P .. 'slots') or '0') then return end
  if redis.call('EXISTS', P .. 'clients') == 1 then wake() end
end

-- Whether a newer Mintage made a job, whose records this one may not understand: it is left alone.
local function is_newer(job) return num(job, 'version') > VERSION end

-- What changes when Redis restarts.
local function run_id() return redis.call('INFO', 'server'):match('run_id:(%w+)') end
local function incarnation_now() return run_id() .. ' ' .. (redis.call('GET', P .. 'rebuilt') or '') end
local function is_indexed() return redis.call('GET', P .. 'rebuilt') == run_id() end

local function touch(job) redis.call('HINCRBY', job_key(job), 'rev', 1) end

local function set_state(job, state)
  redis.call('HSET', job_key(job), 'state', state)
  touch(job)
end

local function answer(value) return cjson.encode(value) end
