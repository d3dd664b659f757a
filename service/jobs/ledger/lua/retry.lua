-- Give the failed shards of a finished job fresh attempts; those that were given back when too many had failed run too,
-- and those that `remake` made ready. Where all are done, the job is finished again: what is damaged is found then.
-- A few records per call, since there may be a million: the job stays as it is until the last was looked at, and an
-- interrupted caller begins again. ARGV: job, cursor ('0' at first), about how many records to look at, 'repair' if a job
-- that succeeded may run again too.
local job = ARGV[1]
local state = state_of(job)
if not state then return answer({why = 'unknown'}) end
if is_newer(job) then return answer({why = 'newer'}) end
local ended = state == 'PARTIALLY_SUCCEEDED' or state == 'FAILED' or (state == 'SUCCEEDED' and ARGV[4] == 'repair')
local runs_again = num(job, 'round') > 0 and (goes_on(state) or state == 'FINALIZING')
if runs_again then return answer({cursor = '0'}) end
if not ended then return answer({why = state}) end

local page = redis.call('HSCAN', shards_key(job), ARGV[2], 'COUNT', ARGV[3])
for i = 1, #page[2], 2 do
  local shard, text = page[2][i], page[2][i + 1]
  local rec = not text:find('"s":%s*"D"') and cjson.decode(text)
  if rec and (rec.s == 'F' or rec.s == 'R') then
    if rec.s == 'F' or rec.f > 0 or rec.e then
      rec.s, rec.f, rec.e = 'R', 0, nil
      redis.call('HSET', shards_key(job), shard, cjson.encode(rec))
    end
    redis.call('ZADD', ready_key(job), 0, shard)
  end
end
if page[1] ~= '0' then return answer({cursor = page[1]}) end

redis.call('ZREM', P .. 'expiring', job)
redis.call('HDEL', job_key(job), 'ended', 'error', 'root', 'result', 'mends')
redis.call('HSET', job_key(job), 'failed', 0)
redis.call('HINCRBY', job_key(job), 'round', 1)
hold_again(job)
reopen(job)
close_if_complete(job)
return answer({cursor = '0'})
