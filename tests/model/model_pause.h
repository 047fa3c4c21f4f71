// Comes first in every file that is compiled for the model checker: polling loops tell it that they poll.
#ifdef __cplusplus
extern "C"
#endif
    void
    model_pause(void);
