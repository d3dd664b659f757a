-- Give the failed shards of a job that has ended fresh attempts; those that were given back when too many had failed go
-- on too. ARGV: job.
local job = ARGV[1]
local state = state_of(job)
if not state then return answer({why = 'unknown'}) end
local ended = state == 'PARTIALLY_SUCCEEDED' or state == 'FAILED'
local runs_again = num(job, 'round') > 0 and (goes_on(state) or state == 'FINALIZING')
if runs_again then return answer({ok = true}) end
if not ended or num(job, 'failed') == 0 then return answer({why = state}) end

local cursor = '0'
repeat
  local page = redis.call('HSCAN', shards_key(job), cursor, 'COUNT', 1000)
  cursor = page[1]
  for i = 1, #page[2], 2 do
    local rec = cjson.decode(page[2][i + 1])
    if rec.s == 'F' or rec.s == 'R' then
      rec.s, rec.f, rec.e = 'R', 0, nil
      redis.call('HSET', shards_key(job), page[2][i], cjson.encode(rec))
      redis.call('ZADD', ready_key(job), 0, page[2][i])
    end
  end
until cursor == '0'
redis.call('ZREM', P .. 'expiring', job)
redis.call('HDEL', job_key(job), 'ended', 'error', 'root', 'result')
redis.call('HSET', job_key(job), 'failed', 0)
redis.call('HINCRBY', job_key(job), 'round', 1)
hold_again(job)
reopen(job)
return answer({ok = true})
