-- Name the models that jobs need. It is not known while Redis, restarted or emptied, was not told of the jobs on disk again.
local backends = redis.call('HKEYS', P .. 'pins')
return answer({known = is_indexed(), backends = backends})
