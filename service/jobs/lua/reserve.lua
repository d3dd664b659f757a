-- Tie a request id to a job id. ARGV: request id, digest of the parameters, candidate job id; if that is empty, only look.
local key = P .. 'request:' .. ARGV[1]
local text = redis.call('GET', key)
if not text then
  if ARGV[3] == '' then return answer({job = ''}) end
  redis.call('SET', key, cjson.encode({digest = ARGV[2], job = ARGV[3]}))
  return answer({job = ARGV[3]})
end
local known = cjson.decode(text)
if known.digest ~= ARGV[2] then return answer({taken = known.job}) end
return answer({job = known.job})
