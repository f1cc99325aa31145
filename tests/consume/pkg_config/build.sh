c++ -std=c++20 messages.cc -o messages $(pkg-config --cflags --libs ivmq)

protoc --cpp_out=. --plugin="$(pkg-config --variable=plugin ivmq)" --ivmq_out=. greeter.proto
c++ -std=c++20 calls.cc greeter.pb.cc greeter.ivmq.pb.cc -o calls $(pkg-config --cflags --libs ivmq)
